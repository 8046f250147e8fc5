"""Chapter 04: what may cross to a job process, what may not, and how each way across fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import psutil
import pytest

from crewlab import ContractBroken, scale
from crewlab.chapters import ch04
from crewlab.exercises.check import evaluate
from crewlab.notebook.posix import can_fork
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import sizes

pytestmark = pytest.mark.skipif(not can_fork(), reason="the job processes are forked")

CHAPTER = "04"
SERVER = {"JOB_PROCESSES": "1"}
RLOCK = "TypeError: cannot pickle '_thread.RLock' object"
ONE_REFUSED = {1: 400, 2: 400, 3: 400}


def refuse_the_first_customer(services: Services) -> None:
    services.model.configure(errors=ONE_REFUSED)
    services.model.reset()


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_a_crew_sent_to_a_job_process_fails_at_any_number_of_replicas(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    load = max(4, 2 * replicas)
    run = scale(apps.app("broken"), replicas=replicas, threads=4, requests=load, env=SERVER)
    run.expect(errors="all")
    assert set(run.errors) == {RLOCK}
    assert "multiprocessing/queues.py" in (run.first_traceback or "")
    assert "in _feed" in (run.first_traceback or "")
    assert services.model.stats().total == 0


def test_without_a_job_process_the_same_app_answers_everybody(apps: ChapterApps) -> None:
    scale(apps.app("broken"), replicas=4, threads=4, requests=16).expect(ok="all")


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_plain_data_crosses_at_any_number_of_replicas(apps: ChapterApps, replicas: int) -> None:
    load = max(4, 2 * replicas)
    scale(apps.app("fixed"), replicas=replicas, threads=4, requests=load, env=SERVER).expect(
        ok="all"
    )


def test_on_a_laptop_the_repaired_app_takes_the_same_road(apps: ChapterApps) -> None:
    scale(apps.app("fixed"), replicas=1, threads=4, requests=4).expect(ok="all")


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps,
) -> None:
    app = apps.save("broken", apps.source("fixed"))
    run = scale(app, replicas=1, threads=4, requests=4, env=SERVER)
    with pytest.raises(ContractBroken, match="Seen instead: 4 ok"):
        run.expect(error="cannot pickle '_thread.RLock' object", errors="all")


def test_one_refused_customer_breaks_the_pool_for_everybody(
    apps: ChapterApps, services: Services
) -> None:
    scale(apps.app("halfway"), replicas=1, threads=4, requests=4).expect(ok="all")
    refuse_the_first_customer(services)
    run = scale(apps.app("halfway"), replicas=1, threads=4, requests=8)
    run.expect(error="terminated abruptly", errors="all")
    assert {text.partition(":")[0] for text in run.errors} == {"BrokenProcessPool"}
    assert services.model.stats().by_status[400] == 3
    assert "concurrent/futures/process.py" in (run.first_traceback or "")
    assert "APIStatusError.__init__() missing 2 required" in (run.first_traceback or "")
    assert "400" not in " ".join([run.first_traceback or "", *run.errors])


def test_the_other_pool_lets_everybody_wait(apps: ChapterApps, services: Services) -> None:
    refuse_the_first_customer(services)
    env = {"POOL": "multiprocessing"}
    run = scale(apps.app("halfway"), replicas=1, threads=4, requests=8, env=env, timeout=3)
    run.expect(timeout="all")
    assert run.errors == {}


def test_in_the_repaired_app_one_refused_customer_fails_alone(
    apps: ChapterApps, services: Services
) -> None:
    refuse_the_first_customer(services)
    run = scale(apps.app("fixed"), replicas=1, threads=4, requests=8, env=SERVER)
    run.expect(ok=7, errors=1, error="RuntimeError: BadRequestError: Error code: 400")


def test_the_repaired_app_refuses_what_its_contract_does_not_name(apps: ChapterApps) -> None:
    asked = [{"company": "Aldermoor", "crew": "a live one"}]
    run = scale(apps.app("fixed"), replicas=1, threads=1, requests=asked, env=SERVER)
    run.expect(error="Extra inputs are not permitted", errors="all")


def test_a_session_is_opened_once_in_each_job_process_and_never_in_the_replica(
    apps: ChapterApps,
) -> None:
    telling = 'print("opened in", "replica" if os.getpid() == HOME else "job", flush=True)'
    app = apps.changed(
        "fixed",
        "fixed",
        ("JOB_PROCESSES = int", "HOME = os.getpid()\nJOB_PROCESSES = int"),
        ("    return httpx.Client(", f"    {telling}\n    return httpx.Client("),
    )
    run = scale(app, replicas=2, threads=4, requests=8, env=SERVER)
    run.expect(ok="all")
    assert [re.findall("opened in .*", r.log) for r in run.replicas] == [["opened in job"]] * 2


@pytest.mark.parametrize("name", ["broken", "halfway", "fixed"])
def test_no_job_process_is_left_behind(apps: ChapterApps, services: Services, name: str) -> None:
    scale(apps.app(name), replicas=1, threads=1, requests=1)  # what stays, such as the fork server
    before = relatives()
    refuse_the_first_customer(services)
    for env in (SERVER, {"POOL": "multiprocessing"}):
        scale(apps.app(name), replicas=2, threads=2, requests=4, env=env, timeout=3)
    deadline = time.monotonic() + 10
    while (left := relatives() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def relatives() -> set[int]:
    """Name the living processes whose environment has this test process's model address."""
    mine = os.environ["OPENAI_BASE_URL"]
    found = set()
    for process in psutil.process_iter():
        try:
            is_mine = process.environ().get("OPENAI_BASE_URL") == mine
            if is_mine and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def test_a_pool_made_before_the_server_forks_serves_nobody(apps: ChapterApps) -> None:
    load = {"replicas": 2, "threads": 2, "requests": 4, "env": SERVER}
    scale(apps.app("fixed"), start_method="fork", timeout=3, **load).expect(timeout="all")


# --- the tables -----------------------------------------------------------------------------------

THINGS = """
import copy, datetime, pickle, sqlite3

import httpx, openai
from crewai import LLM, Agent, Crew, Task
from crewai.tools import BaseTool, tool
from pydantic import BaseModel


class News(BaseTool):
    name: str = "news"
    description: str = "Finds news about a company."

    def _run(self, company: str) -> str:
        return company


class Job(BaseModel):
    company: str
    asked_at: datetime.datetime


def nested():
    def inside(): ...
    return inside


def make(thing):
    agent = Agent(role="r", goal="g {company}", backstory="b", llm=LLM(model="gpt-4o-mini"))
    task = Task(description="d {company}", expected_output="e", agent=agent)
    crew = Crew(agents=[agent], tasks=[task])
    return {
        "crew": lambda: crew,
        "agent": lambda: agent,
        "model": lambda: agent.llm,
        "task": lambda: task,
        "lock": lambda: crew.agents[0].llm._client._client._cookies.jar._cookies_lock,
        "bound method": lambda: crew.kickoff,
        "session": httpx.Client,
        "client": openai.OpenAI,
        "tool": News,
        "connection": lambda: sqlite3.connect(":memory:"),
        "lambda": lambda: (lambda: None),
        "nested": nested,
        "output": lambda: crew.kickoff(inputs={"company": "Aldermoor"}),
        "job": lambda: Job(company="Aldermoor", asked_at=datetime.datetime.now()),
        "plain": lambda: {"n": [1, 2.5, "text", None, True], "day": datetime.date.today()},
    }[thing]()


def run(inputs):
    thing = make(inputs["thing"])
    if inputs["by"] == "deepcopy":
        copy.deepcopy(thing)
    else:
        pickle.loads(pickle.dumps(thing))
    return inputs["thing"]
"""
REFUSED = {
    "crew": RLOCK,
    "agent": RLOCK,
    "model": RLOCK,
    "task": RLOCK,
    "lock": RLOCK,
    "bound method": RLOCK,
    "session": RLOCK,
    "client": RLOCK,
    "tool": "PicklingError: Can't pickle <class 'crewai.tools.base_tool.NewsSchema'>",
    "connection": "TypeError: cannot pickle 'sqlite3.Connection' object",
    "lambda": r"Can't (pickle|get) (<function|local object)",
    "nested": r"Can't (pickle|get) local object",
}
CROSSES = ["output", "job", "plain"]


def test_the_table_of_what_crosses_and_what_does_not_is_true(apps: ChapterApps) -> None:
    asked = [{"thing": thing, "by": "pickle"} for thing in (*REFUSED, *CROSSES)]
    asked += [{"thing": "crew", "by": "deepcopy"}]
    run = scale(apps.save("things", THINGS), replicas=1, threads=1, requests=asked)
    for record in run.requests:
        thing = record.inputs["thing"]
        if thing in CROSSES:
            assert record.kind == "ok", (thing, record.error)
        else:
            pattern = REFUSED[thing] if thing in ("lambda", "nested") else re.escape(REFUSED[thing])
            assert re.search(pattern, record.error or ""), (thing, record.error)


def test_an_error_of_the_openai_client_can_be_sent_but_not_received() -> None:
    said = python(
        """
        import pickle, httpx, openai
        response = httpx.Response(400, request=httpx.Request("POST", "http://localhost"))
        for name in ("BadRequest", "Authentication", "RateLimit", "InternalServer"):
            kind = getattr(openai, f"{name}Error")
            sent = pickle.dumps(kind("no", response=response, body=None))
            try:
                pickle.loads(sent)
            except TypeError as problem:
                print(problem)
        """
    )
    assert said.count("missing 2 required keyword-only arguments: 'response' and 'body'") == 4


def test_what_ends_the_thread_that_reads_a_pools_results_lets_the_caller_wait() -> None:
    said = python(
        """
        import multiprocessing, os
        class Refused(Exception):
            def __init__(self, message, *, body):
                super().__init__(message)
        def work():
            raise Refused("no", body=None)
        pool = multiprocessing.get_context("fork").Pool(1)
        answer = pool.apply_async(work)
        pool._result_handler.join(30)
        reader = pool._result_handler
        print("reader lives:", reader.is_alive(), "answered:", answer.ready(), flush=True)
        # Such a pool cannot even be terminated: that raises an AssertionError.
        pool._worker_handler._state = "TERMINATE"
        pool._change_notifier.put(None)
        pool._worker_handler.join()
        for process in pool._pool:
            process.kill()
        os._exit(0)
        """
    )
    assert "in _handle_results" in said
    assert "reader lives: False answered: False" in said


def test_a_queue_takes_what_it_cannot_send_and_tells_nobody_but_standard_error() -> None:
    said = python(
        """
        import multiprocessing, threading
        jobs = multiprocessing.get_context("fork").Queue()
        jobs.put(threading.RLock())
        print("put returned")
        jobs.put("the next job")
        print("first to arrive:", jobs.get(timeout=30))
        """
    )
    assert "put returned" in said
    assert "cannot pickle '_thread.RLock' object" in said
    assert "first to arrive: the next job" in said


def test_json_names_what_it_cannot_carry() -> None:
    said = python(
        """
        import json
        class Crew: ...
        try:
            json.dumps({"crew": Crew()})
        except TypeError as problem:
            print(problem)
        """
    )
    assert "Object of type Crew is not JSON serializable" in said


def test_a_function_that_only_the_notebook_knows_breaks_one_pool_and_stops_the_other() -> None:
    # A script on standard input is like a cell: its functions are in no module that can be found.
    said = python(
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        def work(n):
            return n
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                pool.submit(work, 1).result(30)
            except Exception as problem:
                print(type(problem).__name__, problem)
        pool = context.Pool(1)
        first = pool._pool[0]
        answer = pool.map_async(work, [1])
        first.join(30)
        print("worker ended:", first.exitcode, "answered:", answer.ready())
        pool.terminate()
        """
    )
    assert "BrokenProcessPool A process in the process pool was terminated abruptly" in said
    assert "worker ended: 1 answered: False" in said


def python(script: str) -> str:
    """Run a script from standard input; give all it printed."""
    lines = script.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    done = subprocess.run(
        [sys.executable, "-"],
        input="\n".join(line[indent:] for line in lines),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


# --- the two stories ------------------------------------------------------------------------------


def test_both_stories_fail_with_a_single_replica_and_thread(
    apps: ChapterApps, services: Services
) -> None:
    asked = [
        {"company": "Aldermoor", "story": "connection"},
        {"company": "Brightwater", "story": "context"},
    ]
    run = scale(apps.app("stories"), replicas=1, threads=1, requests=asked)
    refused, ignored = run.requests
    assert refused.error == (
        "ValueError: Error interpolating description: Invalid value for key 'db': Unsupported type "
        "Connection in inputs. Only str, int, float, bool, dict, and list are allowed."
    )
    assert "crewai/utilities/string_utils.py" in (refused.traceback or "")
    assert (ignored.kind, ignored.error) == ("wrong", None)
    [call] = services.model.journal()
    assert call.names == (), "the model was told about somebody"


MORE_INPUTS = """
import datetime

from crewai import LLM, Agent, Crew, Task

VALUES = {
    "datetime": datetime.datetime(2026, 1, 1),
    "tuple": (1,),
    "set": {1},
    "bytes": b"1",
    "NoneType": None,
    "list": [1, "two", {"three": 3.0}],
}


def run(inputs):
    agent = Agent(role="r", goal="g", backstory="b", llm=LLM(model="gpt-4o-mini"))
    task = Task(description="d {company}", expected_output="e", agent=agent)
    if inputs["kind"] == "Task context":
        Task(description="d", expected_output="e", agent=agent, context={"a": 1})
    assert "context" not in Crew.model_fields
    crew = Crew(agents=[agent], tasks=[task])
    return crew.kickoff(inputs={"company": "Aldermoor", "more": VALUES[inputs["kind"]]}).raw
"""


def test_kickoff_lets_in_plain_values_only_and_a_task_refuses_a_dict_as_context(
    apps: ChapterApps,
) -> None:
    kinds = ["datetime", "tuple", "set", "bytes", "NoneType", "list", "Task context"]
    app = apps.save("inputs_app", MORE_INPUTS)
    run = scale(app, replicas=1, threads=1, requests=[{"kind": kind} for kind in kinds])
    said = dict(zip(kinds, (record.error or "" for record in run.requests), strict=True))
    for kind in kinds[:4]:
        assert f"Unsupported type {kind} in inputs" in said[kind]
    assert said["NoneType"] == said["list"] == ""
    assert said["Task context"].startswith("ValidationError")


# --- the exercise ---------------------------------------------------------------------------------


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("04", apps.app("tickets_app", "exercise"))
    assert not result.solved
    assert "still goes to the job process" in result.message
    assert "cannot pickle 'sqlite3.Connection' object" in result.details[1]
    assert "inside the object whose method you submit" in (result.hint or "")


def test_the_solution_solves_the_exercise(apps: ChapterApps, services: Services) -> None:
    services.model.configure(latency=0.09)
    learners = services.model.settings
    assert evaluate("04", apps.app("tickets_app", "solution")).solved
    assert services.model.settings == learners, "the check has left settings of its own"


SUBMIT = "return self.pool.submit(self.answer, inputs).result()"
OPENED = (
    '        self.tickets = sqlite3.connect("tickets.db", check_same_thread=False)\n'
    '        self.tickets.execute("create table if not exists tickets (company text)")\n'
)
TABLE = '"create table if not exists tickets (company text)"'
ELSEWHERE = f'tickets = sqlite3.connect("tickets.db")\ntickets.execute({TABLE})\n'
WORK = "def work(company: str) -> str:\n"
WRONG_ANSWERS = {
    "a connection opened in the method, which still carries the pool": (
        "exercise",
        (OPENED, ""),
        (
            "        with self.tickets:\n            self.tickets.execute",
            f'        tickets = sqlite3.connect("tickets.db")\n        tickets.execute({TABLE})\n'
            "        with tickets:\n            tickets.execute",
        ),
    ),
    "the connection handed over": (
        "exercise",
        (SUBMIT, "return self.pool.submit(Helpdesk.answer, self.tickets, inputs).result()"),
    ),
    "a lambda": (
        "solution",
        ("pool.submit(work, inputs[", "pool.submit(lambda name: work(name), inputs["),
    ),
    "threads in place of processes": (
        "exercise",
        ("import ProcessPoolExecutor", "import ThreadPoolExecutor"),
        ('ProcessPoolExecutor(2, mp_context=get_context("fork"))', "ThreadPoolExecutor(2)"),
    ),
    "no pool at all": (
        "solution",
        ('pool.submit(work, inputs["company"]).result()', 'work(inputs["company"])'),
    ),
    "a connection that the fork copies": (
        "solution",
        ("def answer(", f"{ELSEWHERE}\n\ndef answer("),
        ("    with open_tickets() as tickets:", "    with tickets:"),
    ),
    "no tickets any more": (
        "solution",
        ("    with open_tickets() as tickets:\n", ""),
        ('        tickets.execute("insert into tickets values (?)", [company])\n', ""),
    ),
    "an exception on its way back": (
        "solution",
        ("    except Exception as problem:", "    except KeyError as problem:"),
    ),
    "a reason that nobody is told": (
        "solution",
        ('{"error": f"{type(problem).__name__}: {problem}"}', '{"error": "sorry"}'),
    ),
    "a function the pool has not seen": (
        "solution",
        (WORK, "def later(company: str) -> str:\n"),
        ("def run(", "def work(company: str) -> str:\n    return later(company)\n\n\ndef run("),
    ),
    "no kickoff": (
        "solution",
        ("    return Crew(", '    return f"Report on {company}."\n    Crew('),
    ),
}
ADVICE = {
    "a connection opened in the method, which still carries the pool": "carries its whole object",
    "the connection handed over": "Open it in the job process",
    "a lambda": "a function without a name of its own",
    "threads in place of processes": "Keep the job processes",
    "no pool at all": "Keep the job processes",
    "a connection that the fork copies": "which SQLite forbids",
    "no tickets any more": "Store each ticket",
    "an exception on its way back": "The exception crosses on its way back",
    "a reason that nobody is told": "Send the text of the error back",
    "a function the pool has not seen": "above the line that starts the pool",
    "no kickoff": "each request needs a kickoff of its own",
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str
) -> None:
    tag, *replacements = WRONG_ANSWERS[answer]
    result = evaluate("04", apps.changed("tickets_app", tag, *replacements))
    assert not result.solved
    assert ADVICE[answer] in (result.hint or ""), (result.message, result.details)
    assert " at 0x" not in " ".join(result.details)


def test_a_pool_that_waits_for_ever_is_not_waited_for(
    apps: ChapterApps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ch04, "PATIENCE", 3)
    app = apps.changed(
        "tickets_app",
        "solution",
        ('pool = ProcessPoolExecutor(2, mp_context=get_context("fork"))\n', ""),
        ("pool.submit(int).result()", 'pool = get_context("fork").Pool(2)'),
        ('pool.submit(work, inputs["company"]).result()', 'pool.apply(work, [inputs["company"]])'),
        ("    except Exception as problem:", "    except KeyError as problem:"),
    )
    result = evaluate("04", app)
    assert "until the model refuses: then the pool gives up" in result.message
