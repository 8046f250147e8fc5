"""What replicas held while they served: memory, open files and threads, request by request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import accumulate, groupby
from statistics import linear_regression
from typing import TYPE_CHECKING, Literal

from crewlab.errors import ToldTypeError, ToldValueError
from crewlab.results.records import ReplicaRecord, Sample
from crewlab.results.run import ContractBroken, Run, Verdict
from crewlab.results.show import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measure = Literal["memory", "files", "threads"]
Course = Literal["grows", "level"]

MEASURES: dict[Measure, str] = {
    "memory": "memory, MiB",
    "files": "open files",
    "threads": "threads",
}
LEAK: dict[Measure, float] = {"memory": 3.0, "files": 0.5, "threads": 1.0}
"""What grows by this much with each request, once a replica is warm, is called growing."""

COLUMNS = ("replica", "answered", "what", "at first", "at the end", "most", "a request adds")


@dataclass(frozen=True)
class Point:
    """What a replica held when it had answered so many requests."""

    answered: int
    sample: Sample

    def value(self, measure: Measure) -> float:
        """Give one of the three numbers."""
        return float(getattr(self.sample, measure))


@dataclass(frozen=True)
class Life:
    """One replica through all its starts.

    Attributes:
        run: the name its run was given.
        replica: the replica's name.
        points: what it held, in order; at least one.
    """

    run: str
    replica: str
    points: tuple[Point, ...]

    @property
    def starts(self) -> list[tuple[Point, ...]]:
        """The points of each start; a fresh process holds nothing of the one before."""
        return [tuple(group) for _, group in groupby(self.points, lambda p: p.sample.start)]

    def a_request_adds(self, measure: Measure) -> float | None:
        """Say by how much each request made it grow.

        It is the slope of a straight line through the second half of what its longest-serving
        process answered: by then a replica has imported, opened and started what it keeps anyway.
        What requests in flight hold for a while does not count: of each moment that is taken which
        the process never fell below later.

        Args:
            measure: memory (MiB), files or threads.

        Returns:
            The growth by request (least squares); None where no request came after the first half.
        """
        longest = max(self.starts, key=lambda points: points[-1].answered - points[0].answered)
        last = longest[-1]
        before = [point for point in longest if point.answered < last.answered]
        if not before:
            return None
        half = (longest[0].answered + last.answered) / 2
        middle = min(before, key=lambda point: abs(point.answered - half))
        warm = [point for point in longest if point.answered >= middle.answered]
        kept = list(accumulate((point.value(measure) for point in reversed(warm)), min))[::-1]
        return linear_regression([float(point.answered) for point in warm], kept).slope


@dataclass(frozen=True)
class Growth(Shown):
    """Memory, open files and threads of the replicas of one run or of several.

    Attributes:
        runs: the runs by name.
    """

    runs: Mapping[str, Run]

    @property
    def lives(self) -> list[Life]:
        """Every replica that served."""
        return [
            Life(name, replica.name, tuple(_points(run, replica)))
            for name, run in self.runs.items()
            for replica in run.replicas
            if replica.samples
        ]

    @property
    def measures(self) -> list[Measure]:
        """What was measured; Windows does not tell how many files are open."""
        samples = [point.sample for life in self.lives for point in life.points]
        return [measure for measure in MEASURES if any(getattr(s, measure) for s in samples)]

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the table."""
        return COLUMNS if len(self.runs) == 1 else ("run", *COLUMNS)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One row of texts a replica and measure."""
        rows = [(life.run, *_row(life, m)) for life in self.lives for m in self.measures]
        return [row[len(row) - len(self.columns) :] for row in rows]

    def expect(self, **courses: Course) -> Verdict:
        """State what grows with each request, and what does not.

        Args:
            **courses: "grows" (in at least one replica) or "level" (in every one) for ``memory``,
                ``files`` or ``threads``.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: something else was seen; says what.
            ValueError: none of the three was named, or another word was used.
        """
        said = []
        for measure, course in courses.items():
            if measure not in MEASURES or course not in ("grows", "level"):
                raise ToldValueError(
                    f"growth(...).expect({measure}={course!r}) cannot be checked.\n"
                    "A course is 'grows' or 'level', of memory, files or threads.\n"
                    "For example growth(run).expect(memory='grows')."
                )
            steps = [life.a_request_adds(measure) or 0.0 for life in self.lives]
            grows = any(step >= LEAK[measure] for step in steps)
            if grows != (course == "grows"):
                raise ContractBroken(
                    f"Expected of {', '.join(self.runs)}: {_words(measure, course)}.\n"
                    f"Seen instead: a request adds {', '.join(f'{s:.2f}' for s in steps)}"
                    f" (from {LEAK[measure]:g} on it counts as growing).\n"
                    "If you edited the app, run its cell as it was."
                )
            said.append(_words(measure, course))
        if not said:
            raise ToldValueError("expect() was given nothing: name memory, files or threads.")
        return Verdict("As expected: " + "; ".join(said) + ".")

    def picture(self) -> Figure:
        """Draw a panel a measure, a line a replica."""
        from crewlab.results.growth_picture import draw_growth

        return draw_growth(self)

    def __str__(self) -> str:
        from crewlab.results.text import table

        return table([self.columns, *self.rows])

    def _repr_html_(self) -> str:
        from crewlab.results.html import html_table, varies

        rows = [[escape(cell) for cell in row] for row in self.rows]
        return varies(html_table(self.columns, rows, "What each replica held while it served"))


def growth(runs: Run | Mapping[str, Run]) -> Growth:
    """Show what the replicas held while they served.

    Args:
        runs: a run, or several by name, for example ``{"broken": crash, "fixed": repaired}``.

    Returns:
        A table and a picture of memory, open files and threads over the requests answered.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(runs, Run):
        runs = {runs.app: runs}
    if not isinstance(runs, Mapping) or not all(isinstance(run, Run) for run in runs.values()):
        raise ToldTypeError(
            "growth() needs a run, or several by name.\n"
            "A run is what scale(...) returns.\n"
            'For example growth({"broken": crash, "fixed": repaired}).'
        )
    return Growth(dict(runs))


def _points(run: Run, replica: ReplicaRecord) -> Iterator[Point]:
    answers = sorted(
        request.finished
        for request in run.requests
        if request.replica == replica.name and request.kind in ("ok", "wrong", "error")
    )
    for sample in replica.samples:
        yield Point(sum(moment <= sample.seconds for moment in answers), sample)


def _row(life: Life, measure: Measure) -> tuple[str, ...]:
    values = [point.value(measure) for point in life.points]
    step = life.a_request_adds(measure)
    return (
        life.replica,
        str(life.points[-1].answered),
        MEASURES[measure],
        f"{values[0]:.0f}",
        f"{values[-1]:.0f}",
        f"{max(values):.0f}",
        "-" if step is None else f"{step:+.1f}",
    )


def _words(measure: Measure, course: Course) -> str:
    verb = {"grows": "grow", "level": "level off"}[course]
    if measure == "memory":
        return f"memory {verb.replace('grow', 'grows').replace('level', 'levels')}" + _each(course)
    return f"{MEASURES[measure]} {verb}" + _each(course)


def _each(course: Course) -> str:
    return " with each request" if course == "grows" else ""
