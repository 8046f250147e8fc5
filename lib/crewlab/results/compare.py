"""Several apps under the same load, at several numbers of replicas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewlab.app import App
from crewlab.errors import ToldTypeError
from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crewlab.deployment.plan import Environment, Inputs

LEAST_REQUESTS = 4
"""Two requests on one replica could, on a bad day, miss each other."""


@dataclass
class Comparison(Shown):
    """Runs of several apps.

    Attributes:
        runs: for each app's name, its run at each number of replicas.
        replicas: the numbers of replicas, in order.
    """

    runs: dict[str, dict[int, Run]]
    replicas: list[int]

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the table."""
        return ("replicas", *self.runs)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row a number of replicas: the outcomes of each app."""
        return [
            (str(number), *(_outcomes(by_number[number]) for by_number in self.runs.values()))
            for number in self.replicas
        ]

    def expect(
        self, *, broken: str = "broken", fixed: str = "fixed", but_right_at: Sequence[int] = ()
    ) -> Verdict:
        """State that one app fails at every number of replicas and the other at none.

        Args:
            broken: name of the app that must have a request that is not ok in each of its runs.
            fixed: name of the app that must have none.
            but_right_at: numbers of replicas at which the broken app must be all right as well.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: it does not hold.
            KeyError: an app of that name was not compared.
        """
        right = [n for n, run in self.runs[broken].items() if run.ok == len(run.requests)]
        unfixed = [n for n, run in self.runs[fixed].items() if run.ok != len(run.requests)]
        if right != list(but_right_at) or unfixed:
            but = f" but those at {list(but_right_at)} replicas" if but_right_at else ""
            raise ContractBroken(
                f"{broken} was all right at {right or 'no number of'} replicas,"
                f" {fixed} failed at {unfixed or 'no number of'} replicas.\n"
                f"Each {broken} run{but} must fail and each {fixed} run must be right.\n"
                "If you edited an app, run its cell as it was."
            )
        counts = ", ".join(map(str, self.replicas))
        but = f" (but at {', '.join(map(str, but_right_at))})" if but_right_at else ""
        return Verdict(
            f"As expected at {counts} replicas: {broken} fails{but},"
            f" {fixed} answers every request right."
        )

    def picture(self) -> Figure:
        """Draw the outcomes as stacked bars."""
        from crewlab.results.pictures import draw_comparison

        return draw_comparison(self)

    def __str__(self) -> str:
        from crewlab.results.text import comparison_as_text

        return comparison_as_text(self)

    def _repr_html_(self) -> str:
        from crewlab.results.html import comparison_as_html

        return comparison_as_html(self)


def compare(
    apps: Mapping[str, App],
    *,
    replicas: Sequence[int] = (1, 2, 4, 8),
    requests_per_replica: int = 2,
    threads: int = 4,
    env: Environment | Callable[[int], Sequence[Environment]] | None = None,
    requests: int | Sequence[Inputs] | None = None,
    timeout: float | Mapping[str, float] = 30.0,
    **options: Any,
) -> Comparison:
    """Run several apps under the same load at several numbers of replicas.

    Args:
        apps: each app under the name it is to be shown with.
        replicas: the numbers of replicas.
        requests_per_replica: the load grows with the replicas, as it does where load makes
            replicas start; no run has fewer than ``LEAST_REQUESTS``.
        threads: how many requests each replica works on at the same time.
        env: changes to the environment, or a function that gives those of each replica from the
            number of replicas.
        requests: the load of every run, as for ``scale``; None: it grows with the replicas.
        timeout: seconds after which a request without answer is a timeout; a mapping gives each
            app its own, so that one that hangs is cut off early and a slow one is not.
        **options: everything else is passed on to ``scale``.

    Returns:
        All runs; shown as a table and a picture.

    Raises:
        ValueError: as ``scale`` does.
        TypeError: as ``scale`` does, or ``apps`` is not a mapping.
        KeyError: ``timeout`` lacks an app.
    """
    from crewlab.deployment import scale

    if not isinstance(apps, Mapping) or not apps:
        raise ToldTypeError(
            'compare() needs apps by name, for example {"broken": broken, "fixed": fixed}.'
        )
    runs = {
        name: {
            number: scale(
                app,
                replicas=number,
                threads=threads,
                requests=(
                    max(number * requests_per_replica, LEAST_REQUESTS)
                    if requests is None
                    else requests
                ),
                env=env(number) if callable(env) else env,
                timeout=timeout[name] if isinstance(timeout, Mapping) else timeout,
                **options,
            )
            for number in replicas
        }
        for name, app in apps.items()
    }
    return Comparison(runs, list(replicas))


def _outcomes(run: Run) -> str:
    bad = ", ".join(f"{n} {kind}" for kind, n in run.counts.items() if n and kind != "ok")
    return f"{run.ok} of {len(run.requests)} right" + (f" ({bad})" if bad else "")
