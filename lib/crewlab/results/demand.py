"""What a model with a quota saw of a run: requests in flight, requests refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crewlab.services.records import Call

REFUSED = 429
"""HTTP status of a request over the quota."""

FEW = 0.1
"""At most this part of all requests is refused where "few" are."""

HANDFUL = 5
"""More than this many, and more than "few", are "many"."""

COLUMNS = (
    "replicas",
    "app",
    "customers answered",
    "requests to the model",
    "of these refused (429)",
    "requests an answer",
    "answers a second",
)


@dataclass(frozen=True)
class Demand(Shown):
    """One run, and the model's journal of it.

    Attributes:
        run: what happened to the customers.
        calls: every request the model got, in order of arrival.
        quota: requests the model works on at once.
    """

    run: Run
    calls: Sequence[Call]
    quota: int

    @property
    def sent(self) -> int:
        """Requests that arrived at the model."""
        return len(self.calls)

    @property
    def refused(self) -> int:
        """Requests over the quota."""
        return sum(call.status == REFUSED for call in self.calls)

    @property
    def is_overloaded(self) -> bool:
        """Whether more than one request in ten was refused."""
        return self.refused > FEW * self.sent

    def expect(
        self, *, refused: Literal["none", "few", "many"] | None = None, **outcomes: Any
    ) -> Verdict:
        """State what must be seen.

        Args:
            refused: "none"; "few": at most one request in ten; "many": more than a handful, and
                more than one in ten.
            **outcomes: as for `Run.expect`.

        Returns:
            One sentence that is the same whenever the expectation holds.

        Raises:
            ContractBroken: something else was seen; says what.
        """
        said = []
        if outcomes:
            said.append(str(self.run.expect(**outcomes)).removesuffix("."))
        if refused is not None:
            holds = {
                "none": self.refused == 0,
                "few": not self.is_overloaded,
                "many": self.refused > HANDFUL and self.is_overloaded,
            }
            words = {"none": "no request", "few": "hardly any request", "many": "many requests"}
            if not holds[refused]:
                raise ContractBroken(
                    f"Expected of {self.run.app}: the model refuses {words[refused]}.\n"
                    f"Seen instead: {self.refused} refused of {self.sent}.\n"
                    "If you edited the app, run its cell as it was."
                )
            start = "" if said else "As expected: "
            said.append(f"{start}the model refused {words[refused]}")
        return Verdict("; ".join(said) + ".")

    def row(self) -> tuple[str, ...]:
        """Give one row of texts, as `COLUMNS` names them."""
        run, ok = self.run, self.run.ok
        return (
            str(len(run.replicas)),
            run.app,
            f"{ok} of {len(run.requests)}",
            str(self.sent),
            str(self.refused),
            f"{self.sent / ok:.0f}" if ok else "-",
            f"{ok / run.seconds:.1f}" if run.seconds else "-",
        )

    def picture(self) -> Figure:
        """Draw the requests in flight against the cap, and each refusal as a cross."""
        from crewlab.results.demand_picture import draw_demands

        return draw_demands([self])

    def __str__(self) -> str:
        from crewlab.results.text import run_as_text

        return f"{run_as_text(self.run)}\n{_as_text([self])}"

    def _repr_html_(self) -> str:
        from crewlab.results.html import run_as_html

        return run_as_html(self.run) + _as_html([self])


@dataclass(frozen=True)
class SideBySide(Shown):
    """Several apps at several numbers of replicas.

    Attributes:
        demands: for each app's name, its run at each number of replicas.
    """

    demands: Mapping[str, Mapping[int, Demand]]

    def expect(self, *, breaks_at: Sequence[int], fixed: str = "fixed") -> Verdict:
        """State where customers go without an answer.

        Args:
            breaks_at: numbers of replicas at which the other apps must fail some customers.
            fixed: the app that must answer all of them everywhere, with hardly any refusal.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: it does not hold.
        """
        for demand in self.demands[fixed].values():
            demand.expect(ok="all", refused="few")
        others = [name for name in self.demands if name != fixed]
        for name in others:
            for number in breaks_at:
                self.demands[name][number].expect(errors="some", refused="many")
        numbers = ", ".join(map(str, self.demands[fixed]))
        broken_at = " and ".join(map(str, breaks_at))
        return Verdict(
            f"As expected: {' and '.join(others)} fails customers at {broken_at} replicas;"
            f" {fixed} answers all of them at {numbers}, and the model refuses hardly any request."
        )

    def picture(self) -> Figure:
        """Draw each app at its largest number of replicas, on one scale of time."""
        from crewlab.results.demand_picture import draw_demands

        return draw_demands([runs[max(runs)] for runs in self.demands.values()])

    def __str__(self) -> str:
        return _as_text(self._ordered())

    def _repr_html_(self) -> str:
        return _as_html(self._ordered())

    def _ordered(self) -> list[Demand]:
        numbers = sorted({number for runs in self.demands.values() for number in runs})
        return [runs[n] for n in numbers for runs in self.demands.values() if n in runs]


def _as_text(demands: Sequence[Demand]) -> str:
    from crewlab.results.text import table

    return table([COLUMNS, *(demand.row() for demand in demands)])


def _as_html(demands: Sequence[Demand]) -> str:
    from crewlab.results.html import html_table, varies

    rows = [[escape(cell) for cell in demand.row()] for demand in demands]
    quota = demands[0].quota if demands else 0
    return varies(html_table(COLUMNS, rows, f"Against a quota of {quota} requests in flight"))
