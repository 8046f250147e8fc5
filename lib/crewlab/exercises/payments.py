"""How the checks judge an app that takes money: once for each order, and for work that was done."""

from __future__ import annotations

from crewlab.exercises.types import CheckResult
from crewlab.results.ledger import Payments, audit
from crewlab.results.run import Run


def not_charged_once(
    run: Run,
    payments: Payments,
    calls: int | None,
    seen: str,
    *,
    never: str,
    twice: tuple[str, str],
) -> CheckResult | None:
    """Say what is wrong with the work and the payments of a run that answered every order.

    Args:
        run: the run.
        payments: of its orders.
        calls: what the model was asked meanwhile; None if nobody counts, as with a learner's own.
        seen: what was done to the app, as evidence.
        never: the hint if an order was not charged.
        twice: the message and the hint if an order was charged more than once.

    Returns:
        The verdict; None if every order was charged once, for an answer of the model.
    """
    if calls is not None and calls < len(run.requests):
        return CheckResult(
            False,
            "the answers are right, but not every customer's came from the model.",
            hint="Let the crew do the work: each order needs a kickoff.",
        )
    ledger = audit(run, payments)
    if ledger.count("never"):
        message = "every order is answered, and some were never charged."
        return CheckResult(False, message, (seen,), never)
    if ledger.count("twice"):
        message, hint = twice
        return CheckResult(False, message, (seen,), hint)
    return None
