"""Judges a stage by what others saw: the model, the news service, the payments, the supervisor.

An answer that looks right does not count by itself. Each one has to have been asked of the model,
about its own customer; each order has to be paid once, and its news looked up.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from crewlab.capstone.stages import EMPTY_KEY, REVIEWS, Stage
from crewlab.deployment.plan import Judge
from crewlab.results.run import Run
from crewlab.services.asking import names_in
from crewlab.services.records import Call, Stats
from crewlab.services.shop import Shop

CALLS = {"order": 1, "report": 1, "reviews": 1 + REVIEWS}
"""How often the model must have answered for one job, at least: a tool may take another turn."""


def names_only_its_customer(items: Mapping[str, str]) -> Judge:
    """Make the judge of answers.

    Args:
        items: what each customer has ordered.

    Returns:
        Right is what names the customer, for an order or a report also the item, and nobody else.
    """

    def judge(inputs: Mapping[str, Any], answer: str) -> bool:
        names = set(names_in(answer))
        company = inputs["company"]
        wanted = {company} if inputs["job"] == "reviews" else {company, items[company]}
        return names == wanted

    return judge


class Evidence:
    """What was seen of one stage from outside the app."""

    def __init__(
        self,
        stage: Stage,
        run: Run,
        shop: Shop,
        calls: Sequence[Call],
        searches: Sequence[Call],
        stats: Stats,
    ) -> None:
        self._stage = stage
        self._run = run
        self._calls = calls
        self._searches = searches
        self._stats = stats
        orders = [r.inputs for r in run.requests if r.inputs["job"] == "order"]
        self._charges = shop.charges(orders) if orders else {}

    def not_right(self) -> dict[int, str]:
        """Find the answers that look right and are not.

        Returns:
            What is wrong, by the number of the request.
        """
        asked = Counter(name for c in self._calls if c.status == 200 for name in c.names)
        found = {name for call in self._searches if call.status == 200 for name in call.names}
        needed: Counter[str] = Counter()
        for job in {tuple(sorted(r.inputs.items())): r.inputs for r in self._run.requests}.values():
            needed[job["company"]] += CALLS[job["job"]]
        problems: dict[int, str] = {}
        for record in self._run.requests:
            job, company = record.inputs["job"], record.inputs["company"]
            if record.kind != "ok":
                continue
            if asked[company] < needed[company]:
                problems[record.number] = "the answer is not all the model's"
            elif job == "order" and (paid := self._charges[record.inputs["order"]]) != 1:
                problems[record.number] = "charged twice" if paid else "never charged"
            elif job == "order" and not self._stage.search.get("hang") and company not in found:
                problems[record.number] = "its news were not found"
        return problems

    def complaint(self) -> str | None:
        """Find what is wrong with the run as a whole, although each answer may be right."""
        if self._stage.number == "02":
            return self._of_the_start()
        if self._run.ok < len(self._run.requests) or self.not_right():
            return None  # the requests tell more
        if self._stage.number == "01":
            if self._stats.peak_in_flight <= len(self._run.replicas):
                return "the customers wait for one another"
        elif self._stage.kills and not all(replica.replaced for replica in self._run.replicas):
            return "no job was in its middle when a replica was to be killed"
        return None

    def _of_the_start(self) -> str | None:
        replica = self._run.replicas[-1]
        if replica.ready or replica.error is None:
            return f"a replica without {EMPTY_KEY} turns green"
        if EMPTY_KEY not in replica.error:
            return f"a replica ends at start-up and does not name {EMPTY_KEY}"
        if os.environ.get("OPENAI_API_KEY", "") in replica.error + replica.log:
            return "a key is in the log"
        return None
