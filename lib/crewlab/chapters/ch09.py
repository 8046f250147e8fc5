"""Chapter 09: die well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewlab.app import App
from crewlab.exercises.types import CheckResult, LogLine, Option, Quiz

if TYPE_CHECKING:
    from crewlab.results.run import Run

QUIZZES: dict[str, Quiz] = {
    "09-predict": Quiz(
        "The queue delivers a job once more if its replica died before it answered. A replica is"
        " killed after the charge, before the letter. What does the ledger show?",
        (
            Option(
                "One payment: the second delivery finds the order charged.",
                "Nothing in the app looks whether it was. The second delivery starts at its first"
                " line.",
            ),
            Option(
                "Two payments, and a request that failed with an error.",
                "Two payments, yes. But nothing raises: the second delivery runs as smoothly as"
                " any.",
            ),
            Option(
                "Two payments, and every request answered.",
                "The job is done again from its first line and answered. No outcome of the run"
                " tells that somebody paid twice.",
                right=True,
            ),
            Option(
                "No payment: a killed process takes back what it has begun.",
                "Only a database transaction is taken back. What left the process has happened.",
            ),
        ),
    ),
    "09-remember": Quiz(
        "The app looks up whether the order is charged, and charges it if it is not. Is that"
        " enough?",
        (
            Option(
                "Yes: a job that comes again finds the payment.",
                "It does if it comes later. Two deliveries at the same time both look before"
                " either has written.",
            ),
            Option(
                "No: looking and charging must be one step, under a key of the order.",
                "A conditional write, a unique column or the payment service's own idempotency key"
                " decides for exactly one of the two.",
                right=True,
            ),
            Option(
                "No: it also needs a lock in the process.",
                "The other delivery is in another replica, and does not know that lock.",
            ),
            Option(
                "Yes, if replicas drain on SIGTERM.",
                "Draining helps at planned ends only. And queues deliver twice without any kill.",
            ),
        ),
    ),
}

LOGS: tuple[LogLine, ...] = (
    LogLine(
        "ended with exit code 143 (SIGTERM)",
        "A Python process ends at SIGTERM at once, with whatever it was doing. Handle it: drain,"
        " then end.",
    ),
    LogLine(
        "ended with exit code 137 (SIGKILL), its grace period is over",
        "Something held the process after SIGTERM: a job that takes too long, or telemetry that "
        "cannot reach its collector.",
    ),
    LogLine(
        "replica ended with exit code 137 while it had this request",
        "The job was acknowledged before the work was done, and is lost. Acknowledge it "
        "afterwards.",
    ),
    LogLine(
        "A customer is charged twice, and no request failed",
        "The job was delivered again after its effect. Give every effect the job's key, and "
        "write it with a condition.",
    ),
)

HINTS: tuple[str, ...] = (
    "A replica is killed while the crew writes. What does the next delivery of the order find, "
    "and what does it do then?",
    "The mark says that somebody began; it is read as if the work were done. Take it away, and "
    "ask: which line must not happen twice, and what is its key made of?",
    'Charge with `Key=f"charges/{order}"` and `IfNoneMatch="*"`, so that the storage looks and '
    "writes in one step. A `PreconditionFailed` then means: charged already, go on.",
)

REPLICAS = 2
HELD = 2
ORDERS = 4
UNDER_KILLS = "Two replicas were killed while the model was being asked; their jobs came again."
COPIED, COPIES = 2, 4
ON_ITS_WAY = 0.5  # s a write takes to the storage
AT_ONCE = "Two orders were delivered four times each, all at once; the storage was slow to write."


def check(app: App) -> CheckResult:
    """Kill the learner's app in the middle of its jobs, then deliver copies of orders at once.

    Args:
        app: the learner's.

    Returns:
        Solved if each order is answered and charged exactly once in both, by way of the model.
    """
    from crewlab.deployment import Eviction, scale
    from crewlab.exercises.payments import not_charged_once
    from crewlab.results.ledger import audit
    from crewlab.services import current
    from crewlab.services.far_storage import FarStorage
    from crewlab.services.shop import Shop

    shop = Shop()
    with shop.jobs_held(HELD) as in_mid_job:
        killed = scale(
            app,
            replicas=REPLICAS,
            threads=1,
            requests=shop.orders(ORDERS),
            evict=[Eviction(number, when=in_mid_job) for number in range(REPLICAS)],
            redeliver=2,
            env=shop.environment,
            judge=_is_about_its_customer,
        )
        local = current()
        calls = local.model.stats().total if local is not None and local.model_is_local else None
    if killed.lost == ORDERS:
        return CheckResult(False, f"the app does not start: {killed.first_error}.")
    if killed.ok < ORDERS:
        return _not_answered(killed, UNDER_KILLS)
    problem = not_charged_once(
        killed,
        shop,
        calls,
        UNDER_KILLS,
        never="A delivery that was killed leaves its traces behind. What does the next one take"
        " them for?",
        twice=(
            "customers are charged twice after a kill.",
            "The next delivery charges again. Give the payment a key that is the order's.",
        ),
    )
    if problem is not None:
        return problem
    with FarStorage(ON_ITS_WAY) as far:
        copies = scale(
            app,
            replicas=REPLICAS,
            threads=COPIED * COPIES // REPLICAS,
            requests=[order for order in shop.orders(COPIED) for _ in range(COPIES)],
            env=shop.environment | far.environment,
            judge=_is_about_its_customer,
        )
    if copies.ok < len(copies.requests):
        return _not_answered(copies, AT_ONCE)
    if audit(copies, shop).count("once") < COPIED:
        return CheckResult(
            False,
            "kills do no harm any more, but orders that come several times at once are charged"
            " again.",
            (AT_ONCE,),
            "Between looking and writing there is room for another delivery. Let the storage do"
            " both in one step.",
        )
    return CheckResult(
        True, "every order is answered, and charged exactly once.", (UNDER_KILLS, AT_ONCE)
    )


def _is_about_its_customer(inputs: object, answer: str) -> bool:
    return isinstance(inputs, dict) and inputs["company"] in answer


def _not_answered(run: Run, load: str) -> CheckResult:
    if run.wrong:
        return CheckResult(False, "an answer does not name the customer it is for.", (load,))
    error = run.first_error or "no answer in time"
    refused = (
        "A refused write says that the order is charged already. That is no failure: go on."
        if "PreconditionFailed" in error
        else None
    )
    return CheckResult(False, f"not every order is answered: {error}.", (load,), refused)
