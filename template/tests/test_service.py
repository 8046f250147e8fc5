"""The whole service on real workers, under a load that looks at every answer."""

from __future__ import annotations

import contextlib
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from service.jobs import Job
from service.reports import Reports
from tests.servers import Server, serving
from tests.stand_ins import BUCKET, KEY, SECRET, Model

COMPANIES = (
    "Aldermoor",
    "Birchfield",
    "Cedarholm",
    "Dunmere",
    "Eastvale",
    "Fernley",
    "Glenrock",
    "Hartwell",
    "Ironbridge",
    "Juniper",
    "Kingsford",
    "Larkspur",
    "Marlow",
    "Northgate",
    "Oakhurst",
    "Penrose",
)


@pytest.fixture(scope="module")
def server(
    world: tuple[Model, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(world[1], tmp_path_factory.mktemp("server")) as running:
        yield running


def test_customers_at_once_are_each_told_about_themselves(server: Server, model: Model) -> None:
    model.latency = 0.3
    keys = {company: str(uuid.uuid4()) for company in COMPANIES}
    with ThreadPoolExecutor(len(COMPANIES)) as pool:
        answers = list(pool.map(lambda name: server.ask_until_served(name, keys[name]), COMPANIES))
    for company, answer in zip(COMPANIES, answers, strict=True):
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"company": company, "text": f"Report on {company}."}
    assert model.asked == len(COMPANIES)
    assert model.peak > 1


def test_asking_again_with_the_same_key_gives_the_same_report_and_costs_nothing(
    server: Server, model: Model
) -> None:
    key = str(uuid.uuid4())
    first = server.ask("Aldermoor", key)
    again = [server.ask("Aldermoor", key) for _ in range(4)]
    assert {answer.text for answer in again} == {first.text}
    assert model.asked == 1
    assert server.ask("Eastvale", key).status_code == 409


@pytest.mark.parametrize(
    "body", ["", "nonsense", "[]", '{"company": 1, "key": "1"}', '{"company": "' + "x" * 20_000]
)
def test_what_is_no_job_is_refused_in_words(server: Server, model: Model, body: str) -> None:
    answer = httpx.post(f"{server.url}/reports", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"] == "this is no job"
    assert model.asked == 0


def test_a_failure_is_told_without_its_inside_and_logged_without_secrets(
    server: Server, model: Model
) -> None:
    model.status = 401
    answer = server.ask("Aldermoor", str(uuid.uuid4()))
    assert answer.status_code == 502
    assert "Traceback" not in answer.text
    assert KEY not in answer.text
    assert '"failed"' in server.log()
    for secret in (KEY, SECRET):
        assert secret not in server.log()


def test_it_is_alive_and_ready(server: Server, model: Model) -> None:
    assert httpx.get(f"{server.url}/live").json() == {"live": True}
    assert httpx.get(f"{server.url}/ready").json() == {"ready": True}
    assert model.asked == 0  # a probe costs nothing


def test_a_server_that_is_full_says_when_to_come_back(
    variables: dict[str, str], model: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model.latency = 3
    limits = {"SERVICE_KICKOFFS": "1", "SERVICE_WAITING": "1"}
    with (
        serving({**variables, **limits}, tmp_path_factory.mktemp("full"), workers=1) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda n: server.ask(COMPANIES[n], str(uuid.uuid4())), range(8)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * 2 + [503] * 6
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["Retry-After"] == "2"


def test_sigterm_lets_it_finish_what_it_has(
    variables: dict[str, str], model: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The customer who waits is answered; the one who has left finds the report later."""
    stays, left = (Job(company=name, key=str(uuid.uuid4())) for name in ("Aldermoor", "Eastvale"))
    model.stuck = {stays.company, left.company}
    variables["SERVICE_JOB_SECONDS"] = "4"
    with (
        serving(variables, tmp_path_factory.mktemp("end"), workers=1) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        assert server.ask(left.company, left.key).status_code == 504
        answer = pool.submit(server.ask, stays.company, stays.key)
        wait_until(lambda: model.asked == 2 or answer.done())
        server.process.terminate()
        wait_until(lambda: "Shutting down" in server.log())
        model.stuck = {left.company}
        assert answer.result(60).json()["text"] == "Report on Aldermoor."
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(3)  # it must not end yet: the other one's work is not done
        model.stuck = set()
        assert server.process.wait(60) in (0, -15)
    for job in (stays, left):
        found = Reports(BUCKET).find(job)
        assert found is not None, f"the work on {job.company} is lost"
        assert found.text == f"Report on {job.company}."


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
