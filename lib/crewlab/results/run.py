"""The result of one deployment, and what may be demanded of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from crewlab.errors import Told, ToldValueError
from crewlab.results.records import (
    JUDGED,
    KINDS,
    MEANING,
    Kind,
    ReplicaRecord,
    RequestRecord,
)
from crewlab.results.show import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Amount = int | Literal["some", "none", "all"]


class ContractBroken(Told, AssertionError):
    """A run did not show what its cell says must be seen."""


class Verdict(str):
    """A sentence that holds every time; shown without quotes at the end of a cell."""

    def __repr__(self) -> str:
        return str(self)


@dataclass
class Run(Shown):
    """What happened to every request and every replica of one deployment.

    Attributes:
        app: the app's name.
        replicas: one record a replica.
        requests: one record a request, in the order they were given.
        threads: requests each replica worked on at the same time.
        start_method: how replicas were started.
        startup_seconds: from the first start until all replicas were ready or had failed.
        seconds: from the release of the requests to the last outcome.
        own_judge: whether a judge of the chapter's own, not the names, told right from wrong.
        memory_limit: MiB above which a replica was killed, or None.
    """

    app: str
    replicas: list[ReplicaRecord]
    requests: list[RequestRecord]
    threads: int
    start_method: str
    startup_seconds: float
    seconds: float
    own_judge: bool = False
    memory_limit: float | None = None

    def meaning(self, kind: Kind) -> str:
        """Say in a few words what an outcome means in this run."""
        return JUDGED.get(kind, MEANING[kind]) if self.own_judge else MEANING[kind]

    def count(self, kind: Kind) -> int:
        """Count the requests with one outcome."""
        return sum(record.kind == kind for record in self.requests)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many requests had each outcome; they add up to all requests."""
        return {kind: self.count(kind) for kind in KINDS}

    @property
    def ok(self) -> int:
        """Requests answered about the right customer."""
        return self.count("ok")

    @property
    def wrong(self) -> int:
        """Requests answered about somebody else."""
        return self.count("wrong")

    @property
    def error(self) -> int:
        """Requests that failed with an error."""
        return self.count("error")

    @property
    def timeout(self) -> int:
        """Requests without an answer in time."""
        return self.count("timeout")

    @property
    def lost(self) -> int:
        """Requests whose replica died, or that no replica was there to take."""
        return self.count("lost")

    @property
    def errors(self) -> Counter[str]:
        """The texts of all errors, of requests and of replicas at start-up, with their number."""
        of_requests = Counter(r.error for r in self.requests if r.kind == "error" and r.error)
        return of_requests + Counter(r.error for r in self.replicas if r.error)

    @property
    def first_error(self) -> str | None:
        """The error seen first: of a replica at start-up, else of a request."""
        failed = self._first_failed()
        return failed.error if failed else None

    @property
    def first_traceback(self) -> str | None:
        """The traceback of ``first_error``, where there is one."""
        failed = self._first_failed()
        return failed.traceback if failed else None

    @property
    def peak_concurrency(self) -> int:
        """The largest number of requests that were worked on at the same time."""
        edges = sorted(
            edge
            for r in self.requests
            if r.started is not None
            for edge in ((r.started, 1), (r.finished, -1))
        )
        level = peak = 0
        for _, step in edges:
            level += step
            peak = max(peak, level)
        return peak

    def _first_failed(self) -> RequestRecord | ReplicaRecord | None:
        for replica in self.replicas:
            if replica.error:
                return replica
        failed = [record for record in self.requests if record.kind == "error"]
        return min(failed, key=lambda record: record.finished, default=None)

    def expect(
        self,
        *,
        error: str | None = None,
        status: str | None = None,
        ok: Amount | None = None,
        wrong: Amount | None = None,
        errors: Amount | None = None,
        timeout: Amount | None = None,
        lost: Amount | None = None,
        exit_code: int | None = None,
    ) -> Verdict:
        """State what must be seen in this run.

        Args:
            error: a text that at least one error (of a request or at start-up) contains.
            status: a status that at least one replica has, e.g. "OOMKilled".
            ok: how many requests: a number, "some" (at least one), "none" or "all".
            wrong: the same for answers about somebody else.
            errors: the same for requests that failed with an error.
            timeout: the same for requests without answer in time.
            lost: the same for requests whose replica died.
            exit_code: a code that at least one replica ended with (last), e.g. 137.

        Returns:
            One sentence that is the same whenever the expectation holds.

        Raises:
            ContractBroken: something else was seen; says what.
        """
        amounts = {"ok": ok, "wrong": wrong, "error": errors, "timeout": timeout, "lost": lost}
        said: list[str] = []
        missed: list[str] = []
        for kind in KINDS:
            if (amount := amounts[kind]) is not None:
                found = self.count(kind)
                holds = amount_holds(amount, found, len(self.requests))
                (said if holds else missed).append(self._sentence(kind, amount))
        if error is not None:
            holds = any(error in text for text in self.errors)
            (said if holds else missed).append(f"an error says {error!r}")
        if status is not None:
            holds = any(replica.status == status for replica in self.replicas)
            (said if holds else missed).append(f"a replica is {status}")
        if exit_code is not None:
            holds = any(replica.exit_code == exit_code for replica in self.replicas)
            (said if holds else missed).append(f"a replica ended with exit code {exit_code}")
        if not said and not missed:
            raise ToldValueError("expect() was given nothing: name an outcome or an error.")
        if missed:
            raise ContractBroken(self._complaint(missed))
        return Verdict("As expected: " + "; ".join(said) + ".")

    def _sentence(self, kind: Kind, amount: Amount) -> str:
        are_several = isinstance(amount, int) and amount != 1
        what: dict[Kind, str] = {
            "ok": "answered about the right customer",
            "wrong": "answered about somebody else",
            "error": "failed with an error",
            "timeout": "had no answer in time",
            "lost": "were lost with their replicas" if are_several else "was lost with its replica",
        }
        if self.own_judge:
            what |= JUDGED
        who = {"some": "at least one request", "none": "no request", "all": "every request"}
        counted = f"{amount} request{'s' if are_several else ''}"
        return f"{who.get(str(amount), counted)} {what[kind]}"

    def _complaint(self, missed: list[str]) -> str:
        counts = ", ".join(f"{number} {kind}" for kind, number in self.counts.items() if number)
        first = f" First error: {self.first_error:.300}" if self.first_error else ""
        return (
            f"Expected of {self.app}: {'; '.join(missed)}.\n"
            f"Seen instead: {counts}.{first}\n"
            f"If you edited the app, run its cell as it was; if a package was upgraded,"
            f" this chapter no longer tells the truth."
        )

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data, ready for JSON."""
        return {**asdict(self), "counts": dict(self.counts)}

    def picture(self) -> Figure:
        """Draw who worked on what, and when: one lane a thread, one bar a request."""
        from crewlab.results.pictures import draw_run

        return draw_run(self)

    def __str__(self) -> str:
        from crewlab.results.text import run_as_text

        return run_as_text(self)

    def _repr_html_(self) -> str:
        from crewlab.results.html import run_as_html

        return run_as_html(self)


def amount_holds(amount: Amount, found: int, of: int) -> bool:
    """Tell whether what was found is the amount that must be seen.

    Args:
        amount: a number, "some" (at least one), "none" or "all".
        found: how many there are.
        of: how many there could be.
    """
    match amount:
        case "some":
            return found > 0
        case "none":
            return found == 0
        case "all":
            return found == of
        case _:
            return found == amount
