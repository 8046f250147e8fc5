"""Chapter 09: kills lose jobs or do them twice, keys make that harmless, telemetry holds on."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from crewlab import ContractBroken, Eviction, Run, scale
from crewlab.exercises.check import evaluate
from crewlab.results.kills import draw_kills, kill_at_random
from crewlab.results.ledger import audit
from crewlab.services import Services
from crewlab.services.collector import SilentCollector
from crewlab.services.shop import Shop
from tests.chapter_apps import ChapterApps
from tests.whole import sizes, some

CHAPTER = "09"

posix = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is POSIX's")


@pytest.fixture
def shop(services: Services, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = Shop(services)
    monkeypatch.setenv("SHOP_BUCKET", shop.bucket)
    return shop


def release(apps: ChapterApps, shop: Shop, name: str, replicas: int = 2, redeliver: int = 0) -> Run:
    """Tell all replicas to end, each in the middle of a job, as the chapter does."""
    in_mid_job = shop.hold_jobs(replicas)
    return scale(
        apps.app(name),
        replicas=replicas,
        threads=1,
        requests=shop.orders(2 * replicas),
        evict=[Eviction(number, when=in_mid_job, grace=2) for number in range(replicas)],
        redeliver=redeliver,
    )


def test_without_kills_every_order_is_charged_once(apps: ChapterApps, shop: Shop) -> None:
    run = scale(apps.app("broken"), replicas=2, threads=2, requests=shop.orders(8))
    run.expect(ok="all")
    audit(run, shop).expect(once="all")


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_a_job_that_was_acknowledged_first_is_lost_with_its_replica(
    apps: ChapterApps, shop: Shop, replicas: int
) -> None:
    run = release(apps, shop, "broken", replicas)
    run.expect(lost=replicas, ok=replicas)
    ledger = audit(run, shop)
    ledger.expect(once="all")
    paid_for_nothing = [entry for entry in ledger.entries if entry.outcomes == ("lost",)]
    assert len(paid_for_nothing) == replicas


def test_a_job_that_is_acknowledged_afterwards_is_done_twice_and_no_outcome_tells(
    apps: ChapterApps, shop: Shop
) -> None:
    run = release(apps, shop, "broken", redeliver=1)
    run.expect(ok="all")
    assert not run.errors
    audit(run, shop).expect(twice=2, once=2)


def test_with_keys_the_same_release_charges_every_order_once(apps: ChapterApps, shop: Shop) -> None:
    run = release(apps, shop, "fixed", redeliver=1)
    run.expect(ok="all")
    assert sum(record.attempts == 2 for record in run.requests) == 2
    audit(run, shop).expect(once="all")


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps, shop: Shop
) -> None:
    ledger = audit(release(apps, shop, "fixed", redeliver=1), shop)
    with pytest.raises(ContractBroken, match="Seen instead: 0 never, 4 once, 0 twice"):
        ledger.expect(twice=2)


@pytest.mark.whole
def test_under_random_kills_the_broken_app_charges_twice_and_the_fixed_one_never(
    apps: ChapterApps, shop: Shop
) -> None:
    both = {"broken": apps.app("broken"), "fixed": apps.app("fixed")}
    comparison = kill_at_random(both, shop, replicas=[1, 2, 4, 8], seed=1)
    comparison.expect(broken="broken", fixed="fixed")
    for number in comparison.replicas:
        killed = sum(replica.replaced for replica in comparison.runs["fixed"][number].replicas)
        assert killed >= number
        # Every job that was held was charged by its first delivery, and by a second one.
        assert comparison.ledgers["broken"][number].count("twice") >= number
    with pytest.raises(ContractBroken, match=r"broken at 1: .* paid twice"):
        comparison.expect(broken="broken", fixed="broken")


def test_a_seed_gives_the_same_kills_again_and_another_seed_others() -> None:
    def kills(seed: int) -> list[Eviction]:
        return draw_kills(8, random.Random(seed), in_mid_job=never)  # noqa: S311 - dice

    assert kills(9) == kills(9)
    assert kills(9) != kills(10)
    assert {kill.replica for kill in kills(9)[:8]} == set(range(8))


def never() -> bool:
    return False


@posix
def test_replicas_that_drain_finish_their_jobs_and_are_replaced(
    apps: ChapterApps, shop: Shop
) -> None:
    in_mid_job = shop.hold_jobs(4, seconds=1)
    run = scale(
        apps.app("broken"),
        replicas=2,
        threads=2,
        requests=shop.orders(6),
        evict=[Eviction(number, when=in_mid_job, grace=60) for number in (0, 1)],
        drain=True,
    )
    run.expect(ok="all", lost="none", exit_code=0)
    assert all(record.attempts == 1 for record in run.requests)
    audit(run, shop).expect(once="all")


@pytest.mark.whole
@posix
def test_sigterm_ends_a_replica_at_once_unless_telemetry_holds_it_until_sigkill(
    apps: ChapterApps, shop: Shop
) -> None:
    def told_to_end(**options: object) -> Run:
        in_mid_job = shop.hold_jobs(1)
        return scale(
            apps.app("broken"),
            replicas=1,
            threads=1,
            requests=shop.orders(1),
            evict=[Eviction(0, when=in_mid_job, grace=4)],
            **options,  # type: ignore[arg-type]
        )

    told_to_end().expect(lost="all", exit_code=143)
    with SilentCollector() as collector:
        slow = told_to_end(start_method="spawn", env=collector.environment)
        # Whom it waited for: CrewAI's own collector, through the proxy on this machine.
        assert "CONNECT telemetry.crewai.com:4319 HTTP/1" in " ".join(collector.heard())
    slow.expect(lost="all", exit_code=137)
    assert any("its grace period is over" in event for event in slow.replicas[0].events)


@pytest.mark.whole
@posix
def test_crewai_sends_its_telemetry_before_a_handler_that_was_there_first_is_called(
    services: Services,
) -> None:
    code = """
import os, signal
signal.signal(signal.SIGTERM, lambda *_: called.append("mine"))
called = []
from crewai.telemetry.telemetry import Telemetry
Telemetry()._shutdown = lambda: called.append("telemetry")
os.kill(os.getpid(), signal.SIGTERM)
print(called, flush=True)
os._exit(0)
"""
    with SilentCollector() as collector:
        environment = {**services.environment, **collector.environment}
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert ended.stdout.strip().endswith("['telemetry', 'mine']"), ended.stderr[-2000:]


def test_two_deliveries_at_once_both_kick_off_and_one_charge_and_one_letter_are_kept(
    apps: ChapterApps, shop: Shop, services: Services
) -> None:
    shop.hold_jobs(2, seconds=3)
    [order] = shop.orders(1)
    run = scale(apps.app("fixed"), replicas=2, threads=1, requests=[order, order])
    run.expect(ok="all")
    assert services.model.stats().total == 2
    assert run.requests[0].answer == run.requests[1].answer
    audit(run, shop).expect(once="all")


def test_a_job_that_comes_again_after_its_end_costs_no_second_kickoff(
    apps: ChapterApps, shop: Shop, services: Services
) -> None:
    [order] = shop.orders(1)
    run = scale(apps.app("fixed"), replicas=1, threads=1, requests=[order, order, order])
    run.expect(ok="all")
    assert services.model.stats().total == 1


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps, shop: Shop) -> None:
    result = evaluate("09", apps.app("renewals", "exercise"))
    assert not result.solved
    assert "some were never charged" in result.message
    assert "What does the next one take them for" in (result.hint or "")


def test_the_solution_solves_the_exercise(apps: ChapterApps, shop: Shop) -> None:
    assert evaluate("09", apps.app("renewals", "solution")).solved


LOOK = (
    '    if is_there(f"marked/{order}"):\n'
    '        return f"The subscription of {company} is renewed already."\n'
)
MARK = '    storage.put_object(Bucket=BUCKET, Key=f"marked/{order}")\n'
CHARGE = '    storage.put_object(Bucket=BUCKET, Key=f"charges/{order}/{uuid.uuid4()}")\n'
ANSWER = "    letter = write_letter(company)\n"
WRONG_ANSWERS = {
    "no mark at all": ((LOOK, ""), (MARK, "")),
    "one key for all attempts, written over": (
        (LOOK, ""),
        (MARK, ""),
        (CHARGE, CHARGE.replace("/{uuid.uuid4()}", "")),
    ),
    "the mark after the work": ((MARK, ""), (CHARGE, CHARGE + MARK)),
    "a look just before the charge": (
        (LOOK, ""),
        (MARK, ""),
        (
            CHARGE,
            '    if not is_there(f"charges/{order}"):\n'
            '        storage.put_object(Bucket=BUCKET, Key=f"charges/{order}")\n',
        ),
    ),
    "the charge before the work": ((LOOK, ""), (MARK, CHARGE), (ANSWER + CHARGE, ANSWER)),
    "a conditional mark": (
        (LOOK, ""),
        (
            MARK,
            "    try:\n"
            f"    {MARK.rstrip()[:-1]}, IfNoneMatch='*')\n"
            "    except ClientError:\n"
            '        return f"The subscription of {company} is renewed already."\n',
        ),
    ),
    "a refused write that is raised": (
        (LOOK, ""),
        (MARK, ""),
        (CHARGE, CHARGE.replace('/{uuid.uuid4()}")', "\", IfNoneMatch='*')")),
    ),
    "no kickoff": (
        (LOOK, ""),
        (MARK, ""),
        (ANSWER, '    letter = f"{company} is renewed."\n'),
    ),
}
ADVICE = {
    "no mark at all": "do both in one step",
    "one key for all attempts, written over": "do both in one step",
    "the mark after the work": "do both in one step",
    "a look just before the charge": "do both in one step",
    "the charge before the work": "a key that is the order's",
    "a conditional mark": "What does the next one take them for",
    "a refused write that is raised": "charged already",
    "no kickoff": "each order needs a kickoff",
}


@pytest.mark.parametrize(
    "answer",
    some(
        WRONG_ANSWERS, "one key for all attempts, written over", "a conditional mark", "no kickoff"
    ),
)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, shop: Shop, answer: str
) -> None:
    result = evaluate("09", apps.changed("renewals", "exercise", *WRONG_ANSWERS[answer]))
    assert not result.solved
    assert ADVICE[answer] in (result.hint or ""), result
