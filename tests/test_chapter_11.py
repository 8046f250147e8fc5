"""Chapter 11: the take-home service holds on its workers, and the check of the small one judges."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from crewlab import COMPANIES, ContractBroken
from crewlab.engines.customers import Customers
from crewlab.engines.service import NotRunning, Service, new_jobs, start
from crewlab.exercises.check import evaluate
from crewlab.services import Services
from crewlab.takehome.checklist import template
from tests.chapter_apps import ChapterApps
from tests.services_tools import become_true
from tests.whole import some

CHAPTER = "11"
posix = pytest.mark.skipif(os.name != "posix", reason="needs SIGTERM")


# --- the service on its workers ---------------------------------------------------------------


@pytest.fixture(scope="module")
def started(services: Services) -> Iterator[list[Service]]:
    """Know the services that the tests of this module have started, and end them."""
    started: list[Service] = []
    yield started
    for service in started:
        service.stop()


@pytest.fixture
def service(started: list[Service]) -> Service:
    """Have two workers, the same for all tests of this module until one of them ends them."""
    if not started or started[-1].lines("Shutting down"):
        started.append(start(workers=2))
    return started[-1]


@pytest.fixture(autouse=True)
def model_as_new(services: Services) -> None:
    services.model.configure()
    services.model.reset()


def hold_the_model(services: Services) -> None:
    services.model.configure(hang=range(1, 1001))
    services.model.reset()


def let_it_go(services: Services) -> None:
    services.model.configure()
    services.model.reset()


def test_customers_at_once_are_told_about_themselves_and_pay_once_for_a_key(
    service: Service, services: Services
) -> None:
    jobs = new_jobs(8)
    first = service.ask(jobs)
    first.expect(ok="all")
    assert services.model.stats().total == len(jobs)
    again = service.ask(jobs)
    again.expect(ok="all")
    assert services.model.stats().total == len(jobs)
    assert [r.answer for r in again.requests] == [r.answer for r in first.requests]


def test_who_finds_no_place_is_told_when_to_come_back_and_nobody_is_lost(
    service: Service, services: Services
) -> None:
    hold_the_model(services)
    storm = service.ask(
        new_jobs(24),
        come_back=True,
        when=lambda so_far: so_far.refused >= 8,
        do=lambda: let_it_go(services),
    )
    storm.expect(ok="all")
    assert storm.refused >= 8
    assert storm.told_when == sum(attempts.count(503) for attempts in storm.statuses)
    assert services.model.stats().peak_in_flight <= 12
    assert "503" in str(storm)


def test_who_does_not_come_back_has_an_error_and_the_contract_says_so(
    service: Service, services: Services
) -> None:
    hold_the_model(services)
    storm = service.ask(
        new_jobs(24), when=lambda so_far: so_far.refused >= 8, do=lambda: let_it_go(services)
    )
    storm.expect(error="HTTP 503: every place is taken", errors="some", lost="none")
    with pytest.raises(ContractBroken):
        storm.expect(ok="all")


def test_the_same_key_for_another_company_is_refused(service: Service) -> None:
    [job, other] = new_jobs(2)
    service.ask([job]).expect(ok="all")
    service.ask([{**other, "key": job["key"]}]).expect(error="HTTP 409", errors="all")


def test_its_probes_answer_and_cost_no_call(service: Service, services: Services) -> None:
    assert service.get("/live") == (200, {"live": True})
    assert service.get("/ready") == (200, {"ready": True})
    assert services.model.stats().total == 0


def test_each_line_of_its_log_is_json_and_the_key_is_in_none(
    service: Service, services: Services
) -> None:
    services.model.configure(errors={1: 401})
    service.ask(new_jobs(1)).expect(error="HTTP 502", errors="all")
    assert service.lines("failed")
    for line in service.log().splitlines():
        assert isinstance(json.loads(line), dict)
    assert os.environ["OPENAI_API_KEY"] not in service.log()


@posix
def test_sigterm_loses_nobody_whose_kickoff_has_begun(service: Service, services: Services) -> None:
    hold_the_model(services)

    def end() -> None:
        service.terminate()
        let_it_go(services)

    last = service.ask(new_jobs(6), when=lambda _: services.model.stats().in_flight == 6, do=end)
    last.expect(ok="all", lost="none")
    assert [replica.status for replica in last.replicas] == ["Completed", "Completed"]
    assert service.wait_for_end() == 0
    assert len(service.lines("drained")) == 2
    with pytest.raises(NotRunning, match="Run the cell that starts it again"):
        service.ask(new_jobs(1))


# --- the customers ----------------------------------------------------------------------------


class Played(BaseHTTPRequestHandler):
    """Answers each customer in the way that its key names."""

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if job["key"] == "cut":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if job["key"] == "silent":
            self.server.closing.wait(30)  # type: ignore[attr-defined]
        about = "Eastvale" if job["key"] == "mixed up" else job["company"]
        text = json.dumps({"company": about, "text": f"Report on {about}."}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_each_customer_has_the_outcome_of_what_came_back() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Played)
    server.closing = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kinds = {"right": "ok", "mixed up": "wrong", "cut": "lost", "silent": "timeout"}
    jobs = [{"company": name, "key": key} for name, key in zip(COMPANIES, kinds, strict=False)]
    jobs.append({"company": "Eastvale", "key": "another one"})
    try:
        answers = Customers(server.server_port, jobs, patience=3.0).send_all(list)
    finally:
        server.closing.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
    seen = {record.inputs["key"]: record.kind for record in answers.requests}
    assert seen == {**kinds, "another one": "ok"}


# --- its start and its end --------------------------------------------------------------------


def test_without_its_settings_it_ends_at_once_and_names_them_without_a_value(
    services: Services,
) -> None:
    lacking = Service(workers=2, env={"OPENAI_API_KEY": None, "SERVICE_BUCKET": ""})
    assert lacking.wait_for_end() == 1
    assert lacking.log().splitlines() == [
        "The service cannot start. Set these variables:",
        "  OPENAI_API_KEY: it is missing",
        "  SERVICE_BUCKET: it is empty",
    ]


@pytest.mark.whole
@posix
def test_uvicorn_alone_starts_a_worker_without_its_key_again_and_again(
    services: Services, tmp_path: Path
) -> None:
    variables = {**os.environ, "CREWAI_STORAGE_DIR": str(tmp_path), "SERVICE_BUCKET": "any"}
    del variables["OPENAI_API_KEY"]
    log = tmp_path / "log.txt"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "service.app:app", "--port", "0", "--workers", "2"],
            cwd=template(),
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert become_true(lambda: log.read_text().count("died") > 2, deadline=120)
        assert server.poll() is None
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_starting_it_again_ends_the_one_before_and_stopping_leaves_nothing(
    services: Services,
) -> None:
    first = start(workers=1)
    second = start(workers=1)
    pids = [first._process.pid, second._process.pid]
    assert first._process.poll() is not None
    second.stop()
    second.stop()
    assert not any(psutil.pid_exists(pid) for pid in pids)


# --- the exercise -----------------------------------------------------------------------------


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("11", apps.app("mini_service", "exercise"))
    assert not result.solved
    assert "starts without OPENAI_API_KEY" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps, services: Services) -> None:
    services.model.configure(latency=0.09)
    learners = services.model.settings
    result = evaluate("11", apps.app("mini_service", "solution"))
    assert result.solved, result
    assert services.model.settings == learners, "the check has left settings of its own"


SETTINGS = "settings = Settings()\n"
KICKOFF = 'build_crew().kickoff(inputs={"company": inputs["company"]}).raw'
WRONG_ANSWERS = {
    "the names only": (
        (
            SETTINGS,
            "import os\n"
            "class Plain:\n"
            "    OPENAI_API_KEY = os.environ['OPENAI_API_KEY']\n"
            "    REPORTS_BUCKET = os.environ['REPORTS_BUCKET']\n"
            "    MODEL_SECONDS = float(os.environ['MODEL_SECONDS'] or 20)\n"
            "settings = Plain()\n",
        ),
    ),
    "a message without names": (
        (SETTINGS, "try:\n    settings = Settings()\nexcept Exception:\n    raise SystemExit(1)\n"),
    ),
    "one crew for all": (
        ("def find(", "crew = build_crew()\n\n\ndef find("),
        ("build_crew().kickoff", "crew.kickoff"),
    ),
    "a lock": (
        ("def find(", "import threading\nlock = threading.Lock()\n\n\ndef find("),
        (
            "    place = f",
            "    with lock:\n        return work(inputs)\n\n\ndef work(inputs):\n    place = f",
        ),
    ),
    "kept and never looked for": (("    kept = find(place)", "    kept = None"),),
    "kept by company": (("inputs['key']", "inputs['company']"),),
    "no kickoff": ((KICKOFF, "f\"Report on {inputs['company']}.\""),),
    "no time limit": (("timeout=settings.MODEL_SECONDS, ", ""),),
    "retries in two layers": (
        (", max_retries=1", ""),
        ("        max_retry_limit=0,\n", ""),
    ),
    "a made-up report": (
        (
            f"    return keep(place, {KICKOFF})",
            "    try:\n"
            f"        text = {KICKOFF}\n"
            "    except Exception:\n"
            "        text = f\"Nothing new at {inputs['company']}.\"\n"
            "    return keep(place, text)",
        ),
    ),
}
SAID = {
    "the names only": "starts with all three variables empty",
    "a message without names": "does not say why",
    "one crew for all": "still meet in the same objects",
    "a lock": "the customers wait for one another",
    "kept and never looked for": "costs another kickoff",
    "kept by company": "the report of an older one about the same company",
    "no kickoff": "not every customer's came from the model",
    "no time limit": "still waits for a model that does not answer",
    "retries in two layers": "still waits for a model that does not answer",
    "a made-up report": "is given a report all the same",
}
ADVICE = {
    "one crew for all": "Line 1: ",
    "no time limit": "Give the model's client its limit",
    "retries in two layers": "Count retries in one of them",
}


@pytest.mark.parametrize(
    "answer",
    some(
        WRONG_ANSWERS,
        "the names only",
        "a message without names",
        "one crew for all",
        "a lock",
        "no kickoff",
    ),
)
def test_a_plausible_wrong_answer_is_not_solved_and_is_told_why(
    apps: ChapterApps, answer: str
) -> None:
    app = apps.changed("mini_service", "solution", *WRONG_ANSWERS[answer])
    result = evaluate("11", app)
    assert not result.solved
    assert SAID[answer] in result.message
    assert ADVICE.get(answer, "") in (result.hint or "")
    assert result.hint
