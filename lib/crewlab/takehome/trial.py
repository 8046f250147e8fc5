"""Takes one protection of the take-home service away, in a copy, and lets its test look for it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crewlab.deployment.scratch import scratch_folder
from crewlab.takehome.checklist import Line, checklist, template
from crewlab.takehome.removals import REMOVALS, Edit

RUN_TESTS = Path(__file__).with_name("run_tests.py")
TIMEOUT = 120.0  # s


class NothingTested(Exception):
    """pytest did not get as far as running a test."""


@dataclass(frozen=True)
class Outcome:
    """How some tests ended.

    Attributes:
        passed: their names, as pytest prints them.
        failed: what the failed ones say, by name.
    """

    passed: tuple[str, ...]
    failed: dict[str, str]


@dataclass(frozen=True)
class TakenAway:
    """One line of the checklist: its test with the protection, and without.

    Attributes:
        line: the line.
        changes: the edited lines, with ``-`` and ``+``.
        before: how its test ended on the service as it is.
        after: and without the protection.
    """

    line: Line
    changes: tuple[str, ...]
    before: Outcome
    after: Outcome

    @property
    def noticed(self) -> bool:
        """Whether the test passes with the protection and fails without."""
        return not self.before.failed and bool(self.after.failed)

    def __str__(self) -> str:
        said = next(iter(self.after.failed.values()), "nothing").splitlines()[0]
        return "\n".join(
            [
                f"Line {self.line.number}: {self.line.text}",
                *self.changes,
                f"its test, {self.line.test.partition('::')[2]}:",
                f"  as the template is:  {'passed' if not self.before.failed else 'FAILED'}",
                f"  with the edit above: {'FAILED' if self.after.failed else 'passed'}",
                f"  it says: {said[:150]}",
            ]
        )

    __repr__ = __str__


def take_away(number: int) -> TakenAway:
    """Take one protection away, and run the test that is there for it, before and after.

    The files in ``template/`` stay as they are; both runs see copies.

    Args:
        number: a line of the checklist.

    Returns:
        The edit, and what the test says.

    Raises:
        ValueError: there is no such line.
        NothingTested: pytest found no such test.
    """
    return take_each_away([number])[0]


def take_each_away(numbers: Iterable[int]) -> list[TakenAway]:
    """Do the same for several lines, two at a time.

    Args:
        numbers: lines of the checklist; each is tried alone, in a copy of its own.

    Returns:
        One result a line.

    Raises:
        ValueError: there is no such line.
        NothingTested: pytest found no such test.
    """
    lines = [checklist().line(number) for number in numbers]
    with tempfile.TemporaryDirectory(prefix="template-", dir=scratch_folder()) as name:
        untouched = copy_template(Path(name) / "untouched")
        jobs: list[tuple[Path, str]] = []
        for line in lines:
            jobs.append((untouched, line.test))
            edited = copy_template(Path(name) / f"without-{line.number}", REMOVALS[line.number])
            jobs.append((edited, line.test))
        outcomes = run_tests([(folder, [f"tests/{test}"]) for folder, test in jobs])
    return [
        TakenAway(line, tuple(changes(REMOVALS[line.number])), before, after)
        for line, before, after in zip(lines, outcomes[::2], outcomes[1::2], strict=True)
    ]


def run_tests(jobs: Sequence[tuple[Path, Sequence[str]]]) -> list[Outcome]:
    """Run tests of copies of the service, each job in a fresh process.

    Args:
        jobs: the copy's folder, and its tests as pytest names them.

    Returns:
        How they ended, in the same order.

    Raises:
        NothingTested: pytest found no such test, or could not start.
    """
    from crewlab.deployment import scale

    run = scale(
        RUN_TESTS,
        replicas=min(2, len(jobs)),
        threads=1,
        requests=[{"folder": str(folder), "tests": list(tests)} for folder, tests in jobs],
        recycle_after=1,
        timeout=TIMEOUT * len(jobs),
        judge=lambda _inputs, _answer: True,
    )
    outcomes = []
    for record in run.requests:
        said: dict[str, Any] = json.loads(record.answer) if record.answer else {}
        if not said.get("passed") and not said.get("failed"):
            raise NothingTested(f"{record.inputs['tests']}: {record.error or said}")
        outcomes.append(Outcome(tuple(said["passed"]), said["failed"]))
    return outcomes


def copy_template(folder: Path, edits: Sequence[Edit] = ()) -> Path:
    """Copy the service and its tests, with some edits.

    Args:
        folder: where to; it must not exist.
        edits: what to change in the copy.

    Returns:
        The folder.

    Raises:
        ValueError: a text to be edited is not there, or not once.
    """
    shutil.copytree(template(), folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for edit in edits:
        path = folder / "service" / edit.file
        text = path.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise ValueError(f"{edit.file} has {text.count(edit.old)} times: {edit.old!r}")
        path.write_text(text.replace(edit.old, edit.new), encoding="utf-8")
    return folder


def changes(edits: Sequence[Edit]) -> Iterator[str]:
    """Give the lines that edits take away and add, below the name of their file."""
    file = ""
    for edit in edits:
        if edit.file != file:
            file = edit.file
            yield f"  service/{file}"
        old, new = edit.old.splitlines(), edit.new.splitlines()
        yield from (f"  - {line.strip()}" for line in old if line not in new)
        yield from (f"  + {line.strip()}" for line in new if line.strip() and line not in old)
