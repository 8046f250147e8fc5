"""Chapter 13: what a queue keeps when processes and machines are killed, and what it loses."""

from __future__ import annotations

from typing import Any

import pytest

from crewlab import App, ContractBroken, Eviction, Run, scale
from crewlab.engines import celery
from crewlab.engines.brokers import Broker
from crewlab.exercises.check import evaluate
from crewlab.results.ledger import Ledger, audit
from crewlab.services import Services
from crewlab.services.shop import Shop
from tests.chapter_apps import ChapterApps
from tests.hosts import can_fork
from tests.whole import some

CHAPTER = "13"
pytestmark = [
    can_fork,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("broker_in_environment"),
]


def killed(app: App, services: Services, **options: Any) -> tuple[Run, Ledger]:
    """Kill both workers as soon as both have asked the model."""
    shop = Shop(services)
    in_mid_job = shop.hold_jobs(2)
    run = celery(
        app,
        replicas=2,
        requests=shop.orders(4),
        evict=[Eviction(number, when=in_mid_job) for number in (0, 1)],
        env=shop.environment,
        timeout=120,
        **options,
    )
    shop.hold_jobs(0)
    return run, audit(run, shop)


def test_a_job_acknowledged_early_is_paid_and_lost(apps: ChapterApps, services: Services) -> None:
    run, ledger = killed(apps.app("broken"), services)
    run.expect(ok=2, lost=2)
    ledger.expect(once="all")
    assert any("WorkerLostError" in (record.error or "") for record in run.requests)


@pytest.mark.parametrize(
    ("pool", "threads"), some([("prefork", None), ("threads", 1)], ("prefork", None))
)
def test_the_fixed_app_loses_nothing_and_charges_once(
    apps: ChapterApps, services: Services, pool: str, threads: int | None
) -> None:
    run, ledger = killed(apps.app("fixed"), services, pool=pool, threads=threads)
    run.expect(ok="all")
    ledger.expect(once="all")


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps, services: Services
) -> None:
    run, _ = killed(apps.save("broken", apps.source("fixed")), services)
    with pytest.raises(ContractBroken, match="Seen instead: 4 ok"):
        run.expect(ok=2, lost=2)


def test_a_job_that_kills_its_process_is_put_aside(apps: ChapterApps, broker: Broker) -> None:
    scans = [
        {"number": "1", "company": "Aldermoor", "scan": "a.tif"},
        {"number": "2", "company": "Brightwater", "scan": "corrupt.tif"},
    ]
    run = celery(apps.app("aside"), replicas=2, requests=scans, timeout=120)
    run.expect(ok=1, errors=1, error="put aside after 2 deliveries")
    assert run.requests[1].attempts == 3
    assert broker.client.llen("dead letters") == 1


def test_the_locks_of_crewai_hold_across_processes_only_in_redis(
    apps: ChapterApps, broker: Broker
) -> None:
    load: dict[str, Any] = {"replicas": 2, "threads": 1, "requests": 6, "start_method": "spawn"}
    load |= {"judge": lambda inputs, answer: answer.endswith(": alone"), "timeout": 120}
    env = {"BROKER": broker.url}
    app = apps.app("locking")
    scale(app, env={**env, "REDIS_URL": broker.url}, **load).expect(ok="all")
    scale(app, env={**env, "REDIS_URL": None}, **load).expect(wrong="some")


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("13", apps.app("renewals", "exercise"))
    assert not result.solved
    assert "jobs are lost" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("13", apps.app("renewals", "solution")).solved


GIVEN_BACK = ("acks_late=True)", "acks_late=True, reject_on_worker_lost=True)")
KICKOFF = '    return write_letter(inputs["company"])'
WRONG_ANSWERS = {
    "given back, without a key": (GIVEN_BACK,),
    "no kickoff": (
        GIVEN_BACK,
        (KICKOFF, "    return f\"Renewed: {inputs['company']}.\""),
    ),
    "no charge": (
        GIVEN_BACK,
        (
            "    storage.put_object(Bucket=BUCKET, "
            "Key=f\"charges/{inputs['order']}/{uuid.uuid4()}\")\n",
            "",
        ),
    ),
}
SAYS = {
    "given back, without a key": "customers are charged twice",
    "no kickoff": "not every customer's came from the model",
    "no charge": "some were never charged",
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_a_plausible_wrong_answer_is_not_solved_and_is_told_why(
    apps: ChapterApps, answer: str
) -> None:
    app = apps.changed("renewals", "exercise", *WRONG_ANSWERS[answer])
    result = evaluate("13", app)
    assert not result.solved
    assert SAYS[answer] in result.message
