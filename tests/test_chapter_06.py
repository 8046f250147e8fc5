"""Chapter 06: a kickoff before the fork hangs every replica, silently; after it, all is well."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from crewlab import App, ContractBroken, compare, scale
from crewlab.building import Project
from crewlab.engines import serve
from crewlab.errors import ToldOSError
from crewlab.exercises.check import evaluate
from crewlab.notebook.posix import can_fork
from crewlab.results.costs import Costs
from crewlab.results.stacks import Stacks
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import sizes

CHAPTER = "06"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def beside(app: App, *others: App) -> App:
    """Put the files of other apps beside one that imports them."""
    for other in others:
        (app.path.parent / other.path.name).write_text(other.source, encoding="utf-8")
    return app


# --- the cause --------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_every_request_hangs_on_any_number_of_forked_replicas(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    load = {"threads": 4, "requests": replicas * 2}
    run = scale(apps.app("broken"), replicas=replicas, start_method="fork", timeout=1.5, **load)
    run.expect(timeout="all", errors="none", lost="none")
    assert all(replica.status == "Running" and replica.ready for replica in run.replicas)
    assert services.model.stats().total == 1, "only the warm-up reaches the model"


def test_the_same_app_works_where_each_replica_imports_it(apps: ChapterApps) -> None:
    scale(apps.app("broken"), replicas=2, threads=2, requests=8).expect(ok="all")


def test_the_watchdog_finds_it_waiting_for_the_event_bus(apps: ChapterApps) -> None:
    app = beside(apps.app("watched"), apps.app("broken"))
    run = scale(app, replicas=1, threads=1, requests=1, start_method="fork")
    run.expect(lost="all")
    assert run.replicas[0].exit_code == 1
    stacks = Stacks(run.replicas[0].log)
    stacks.expect("crewai/crews/utils.py", "prepare_kickoff")
    files = [row[0].partition(":")[0] for row in stacks.rows]
    assert files[0] == "threading.py"
    assert files[-2:] == ["broken.py", "watched.py"]
    log = run.replicas[0].log
    assert "in the master:  ['CrewAIEventsLoop', 'CrewAISyncHandler']" in log
    assert "in the replica: []" in log


STARTERS = {
    "importing and building": ("", "none"),
    "a call of the model": ('LLM(model="gpt-4o-mini").call("hello")', "CrewAIEventsLoop"),
    "a kickoff of an agent": ('agent.kickoff("hello")', "CrewAIEventsLoop"),
    "a flow": ("Hello().kickoff()", "CrewAIEventsLoop"),
}


@pytest.mark.parametrize("starter", STARTERS)
def test_the_first_event_starts_the_threads_and_building_does_not(
    apps: ChapterApps, starter: str
) -> None:
    line, started = STARTERS[starter]
    source = f"""
import threading
from crewai import LLM, Agent, Crew, Task
from crewai.flow.flow import Flow, start

class Hello(Flow):
    @start()
    def hello(self):
        return "hello"

agent = Agent(role="R", goal="g", backstory="b", llm=LLM(model="gpt-4o-mini"))
Crew(agents=[agent], tasks=[Task(description="d", expected_output="o", agent=agent)])
{line}
names = [t.name for t in threading.enumerate() if t.name.startswith("CrewAI")]

def run(inputs):
    return ", ".join(names) or "none"
"""
    app = apps.save("starter", source)
    run = scale(app, replicas=1, threads=1, requests=1, judge=lambda *_: True)
    assert started in (run.requests[0].answer or str(run.first_error))


POOL = """
import faulthandler, threading, time
from crewai.events import crewai_event_bus
from crewai.events.base_events import BaseEvent
import fixed

class Hello(BaseEvent):
    type: str = "hello"

together = threading.Barrier(IDLE)
WARM_UP

@crewai_event_bus.on(Hello)
def meet(source, event):
    together.wait()

for _ in range(IDLE):
    crewai_event_bus.emit(None, Hello())
pool = crewai_event_bus._sync_executor
while pool._idle_semaphore._value < len(pool._threads):  # in the master, before the fork
    time.sleep(0.01)

def run(inputs):
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    answer = fixed.build_crew().kickoff(inputs=inputs).raw
    faulthandler.cancel_dump_traceback_later()
    return answer
"""


def with_idle_threads(apps: ChapterApps, idle: int, seconds: int, warm_up: str = "") -> App:
    """Have the master leave threads of the pool idle, and no async listener."""
    source = POOL.replace("IDLE", str(idle)).replace("SECONDS", str(seconds))
    fixed = apps.save("fixed", apps.source("fixed").replace("async def audit", "def audit"))
    return beside(apps.save("pool", source.replace("WARM_UP", warm_up)), fixed)


@pytest.mark.parametrize(("idle", "seconds", "outcome"), [(1, 30, "ok"), (2, 2, "lost")])
def test_without_an_async_listener_each_inherited_idle_thread_swallows_one_event(
    apps: ChapterApps, idle: int, seconds: int, outcome: str
) -> None:
    app = with_idle_threads(apps, idle, seconds)
    run = scale(app, replicas=1, threads=1, requests=1, start_method="fork")
    run.expect(**{outcome: "all"})
    if outcome == "lost":
        Stacks(run.replicas[0].log).expect("crewai/crews/utils.py", "prepare_kickoff")


def test_without_an_async_listener_requests_at_the_same_time_free_one_another(
    apps: ChapterApps,
) -> None:
    app = with_idle_threads(apps, 2, 30, 'fixed.build_crew().kickoff(inputs={"company": "Y"})')
    scale(app, replicas=1, threads=4, requests=4, start_method="fork").expect(ok="all")


def test_a_job_in_a_forked_process_hangs_after_a_hidden_kickoff_and_works_without(
    apps: ChapterApps,
) -> None:
    one = {"replicas": 1, "threads": 1, "requests": 1}
    jobs = beside(apps.app("jobs"), apps.app("broken"))
    scale(jobs, **one, timeout=3).expect(timeout="all")
    repaired = apps.save("jobs", apps.source("jobs").replace("from broken", "from fixed"))
    scale(beside(repaired, apps.app("fixed")), **one).expect(ok="all")


# --- the repair -------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_a_warm_up_after_the_fork_answers_every_request(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    load = {"threads": 4, "requests": replicas * 2}
    scale(apps.app("fixed"), replicas=replicas, start_method="fork", **load).expect(ok="all")
    about = [call.names for call in services.model.journal()]
    assert about.count(("Yarrowdale",)) == replicas, "one warm-up in each replica"


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps,
) -> None:
    app = apps.save("broken", apps.source("fixed"))
    run = scale(app, replicas=2, threads=2, requests=4, start_method="fork")
    with pytest.raises(ContractBroken, match="Seen instead: 4 ok"):
        run.expect(timeout="all", errors="none", lost="none")


def test_the_comparison_cuts_only_the_hanging_app_off_early(apps: ChapterApps) -> None:
    both = compare(
        {"broken": apps.app("broken"), "fixed": apps.app("fixed")},
        replicas=[1],
        start_method="fork",
        timeout={"broken": 1, "fixed": 30},
    )
    both.expect()
    assert "no answer within 1 s" in {record.error for record in both.runs["broken"][1].requests}


@pytest.mark.whole
def test_preloading_saves_most_of_a_replicas_memory(apps: ChapterApps) -> None:
    counted = apps.source("measured").replace(
        "    answer = fixed.run(inputs)\n",
        "    import sys\n"
        "    before = len(sys.modules)\n"
        "    answer = fixed.run(inputs)\n"
        "    print('modules more:', len(sys.modules) - before)\n",
    )
    app = beside(apps.save("measured", counted), apps.app("fixed"))
    one = {"replicas": 1, "threads": 1, "requests": 1}
    preloaded = scale(app, **one, start_method="fork")
    spawned = scale(app, **one, start_method="spawn")
    costs = Costs({"preloaded": preloaded, "spawned": spawned})
    assert "less than half" in costs.expect(small="preloaded", large="spawned")
    with pytest.raises(ContractBroken, match="MiB of its own"):
        costs.expect(small="spawned", large="preloaded")
    [more] = re.findall(r"modules more: (\d+)", spawned.replicas[0].log)
    assert int(more) > 300


# --- gunicorn ---------------------------------------------------------------------------------


def test_a_real_gunicorn_hangs_with_the_warm_up_and_serves_without(apps: ChapterApps) -> None:
    web = beside(apps.app("web"), apps.app("broken"), apps.app("fixed"))
    hanging = serve(web, env={"REPORT_APP": "broken"}, timeout=3)
    hanging.expect(timeout="all")
    assert [replica.status for replica in hanging.replicas] == ["Running", "Running"]
    assert "Traceback" not in hanging.replicas[0].log
    serve(web, env={"REPORT_APP": "fixed"}).expect(ok="all")
    serve(web, env={"REPORT_APP": "broken"}, preload=False).expect(ok="all")


def test_an_app_that_raises_at_import_is_told_and_leaves_no_server(apps: ChapterApps) -> None:
    web = beside(apps.app("web"), apps.save("broken", "raise RuntimeError('closed')"))
    with pytest.raises(ToldOSError, match="gunicorn did not start"):
        serve(web, env={"REPORT_APP": "broken"})


@contextlib.contextmanager
def gunicorn(folder: Path, app: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command itself, as a reader would."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", *options]
    with (folder / f"{app}.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--no-control-socket", "web:application"],
            cwd=folder,
            env={**os.environ, "REPORT_APP": app, "PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


def wait_for(path: Path, pattern: str, process: subprocess.Popen[bytes]) -> re.Match[str]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        if match := re.search(pattern, path.read_text(errors="replace")):
            return match
        assert not ended, path.read_text(errors="replace")[-2000:]
        time.sleep(0.05)
    raise AssertionError(path.read_text(errors="replace")[-2000:])


@pytest.mark.whole
def test_the_gunicorn_settings_warm_up_in_the_worker_and_refuse_an_earlier_kickoff(
    apps: ChapterApps, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services.environment.items():
        monkeypatch.setenv(name, value)
    web = beside(apps.app("web"), apps.app("broken"), apps.app("fixed"))
    folder = web.path.parent
    [chapter] = Project.find().select([CHAPTER])
    text = chapter.read_text(encoding="utf-8")
    [settings] = re.findall(r"^```python\n(# gunicorn\.conf\.py\n.*?)^```", text, re.S | re.M)
    (folder / "gunicorn.conf.py").write_text(settings, encoding="utf-8")
    with (
        gunicorn(folder, "fixed", "--threads", "4") as good,
        gunicorn(folder, "broken", "--threads", "4") as bad,
    ):
        wait_for(folder / "broken.log", "a kickoff ran before the fork", bad)
        assert bad.wait(60) != 0
        port = wait_for(folder / "fixed.log", r"Listening at: http://127\.0\.0\.1:(\d+)", good)[1]
        wait_for(folder / "fixed.log", "audit: kickoff for Yarrowdale", good)
        connection = HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request("POST", "/", '{"company": "Aldermoor"}')
        assert b"Aldermoor" in connection.getresponse().read()
        connection.close()


# --- the exercise -----------------------------------------------------------------------------


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("06", apps.app("letters_app", "exercise"))
    assert not result.solved
    assert "importing the app still runs a crew" in result.message
    assert "CrewAIEventsLoop" in result.details[0]


def test_the_untouched_exercise_hangs_behind_a_preloading_master(apps: ChapterApps) -> None:
    app = apps.app("letters_app", "exercise")
    load = {"replicas": 2, "threads": 1, "requests": 2}
    scale(app, **load, start_method="fork", timeout=2).expect(timeout="all")
    scale(app, **load).expect(ok="all")


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("06", apps.app("letters_app", "solution")).solved


def test_the_solution_solves_the_exercise_where_there_is_no_fork(
    apps: ChapterApps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert can_fork()
    monkeypatch.delattr(os, "fork")
    assert not can_fork()
    assert "this system has no fork" in capsys.readouterr().out
    assert evaluate("06", apps.app("letters_app", "solution")).solved


AT_IMPORT = "TONE = write_guide()\n"
LISTENER = (
    "@crewai_event_bus.on(CrewKickoffStartedEvent)\n"
    "async def audit(source, event) -> None:\n"
    '    print("audit:", event.inputs)\n'
)
LETTER = 'crew_of_one("Secretary", "Write a letter to {company}. Its tone: " + TONE)'
LATER = (
    (AT_IMPORT, "guides = []\n"),
    (
        "    crew = ",
        "    guides or guides.append(write_guide())\n    TONE = guides[0]\n    crew = ",
    ),
)
WRONG_ANSWERS = {
    "a lock": ((AT_IMPORT, "import threading\nlock = threading.Lock()\n" + AT_IMPORT),),
    "no listener": ((LISTENER, ""),),
    "a background thread": (
        (
            AT_IMPORT,
            "import threading\nguides = []\n"
            "writing = threading.Thread(target=lambda: guides.append(write_guide()))\n"
            "writing.start()\n",
        ),
        ("    crew = ", "    writing.join()\n    TONE = guides[0]\n    crew = "),
    ),
    "the bus shut down": ((AT_IMPORT, AT_IMPORT + "crewai_event_bus.shutdown()\n"),),
    "no listener, but later": ((LISTENER, ""), *LATER),
    "no crew for the guide": ((AT_IMPORT, 'TONE = "Be kind."\n'),),
    "a guide for each letter": ((AT_IMPORT, ""), (LETTER, LETTER.replace("TONE", "write_guide()"))),
    "no kickoff": (
        (AT_IMPORT, ""),
        ("    crew = ", '    print("audit:", inputs)\n    return str(inputs)\n    crew = '),
    ),
}
ADVICE = {
    "a lock": "wait until a request is there",
    "no listener": "wait until a request is there",
    "a background thread": "wait until a request is there",
    "the bus shut down": "Leave the listener and the event bus",
    "no listener, but later": "Leave the listener and the event bus",
    "no crew for the guide": "Keep write_guide()",
    "a guide for each letter": "Keep the guide after the first request",
    "no kickoff": "Each request needs a kickoff of its own",
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str
) -> None:
    app = apps.changed("letters_app", "exercise", *WRONG_ANSWERS[answer])
    result = evaluate("06", app)
    assert not result.solved
    assert ADVICE[answer] in (result.hint or ""), result


def test_a_log_without_stacks_or_memory_is_told() -> None:
    with pytest.raises(ContractBroken, match="The log holds no stacks"):
        Stacks("all is well\n")
    dump = 'Thread 0x00 (most recent call first):\n  File "/app/broken.py", line 3 in run\n'
    with pytest.raises(ContractBroken, match=r"Seen instead: outside of CrewAI"):
        Stacks(dump).expect("crewai/crews/utils.py", "prepare_kickoff")
