"""Reading what ``faulthandler`` wrote: where each thread of a hanging process is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crewlab.results.run import ContractBroken, Verdict
from crewlab.results.show import Shown

_THREAD = re.compile(r"^(?:Current thread|Thread) 0x.*\(most recent call first\):$")
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$')
_LIBRARIES = re.compile(r"^.*[/\\](?:site-packages|lib[/\\]python3\.\d+|Lib)[/\\]")
COLUMNS = ("file and line", "function")
CAPTION = "Where it waits, the innermost call first"


@dataclass(frozen=True)
class Frame:
    """One call that has not returned.

    Attributes:
        file: path within its package or the standard library, else the file's name.
        line: where in it.
        function: the function's name.
    """

    file: str
    line: int
    function: str


class Stacks(Shown):
    """The stacks of all threads of one process, the innermost call first.

    Attributes:
        threads: the frames of each thread, in the order of the dump.
    """

    def __init__(self, log: str) -> None:
        """Read the dump.

        Args:
            log: text with what ``faulthandler.dump_traceback`` or ``dump_traceback_later`` wrote.

        Raises:
            ContractBroken: there is no dump in it.
        """
        self.threads: list[list[Frame]] = []
        for line in log.splitlines():
            if _THREAD.match(line):
                self.threads.append([])
            elif self.threads and (match := _FRAME.match(line)):
                frame = Frame(_short(match["file"]), int(match["line"]), match["function"])
                self.threads[-1].append(frame)
        if not self.threads:
            raise ContractBroken(
                "The log holds no stacks.\n"
                "faulthandler writes them when its time is up: nothing was waiting by then.\n"
                "If you edited the app, run its cell as it was."
            )

    @property
    def waiting(self) -> list[Frame]:
        """The frames of the thread that is inside CrewAI; of the first one if none is."""
        inside = (t for t in self.threads if any(f.file.startswith("crewai") for f in t))
        return next(inside, self.threads[0])

    def expect(self, file: str, function: str) -> Verdict:
        """State in which function of CrewAI the waiting thread is.

        Args:
            file: path from the package on, such as ``crewai/crew.py``.
            function: the innermost function of CrewAI.

        Returns:
            One sentence that is the same whenever this holds.

        Raises:
            ContractBroken: it waits somewhere else.
        """
        inside = [frame for frame in self.waiting if frame.file.startswith("crewai/")]
        found = inside[0] if inside else None
        if found is None or (found.file, found.function) != (file, function):
            seen = f"{found.function} in {found.file}" if found else "outside of CrewAI"
            raise ContractBroken(
                f"Expected a thread that waits in {function} in {file}.\n"
                f"Seen instead: {seen}.\n"
                "If a package was upgraded, this chapter no longer tells the truth."
            )
        return Verdict(f"As expected: a thread waits in {function}, {file}.")

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The waiting thread's frames as texts, what called the app left out."""
        shown = [f for f in self.waiting if not f.file.startswith(("crewlab/", "replica.py"))]
        while len(shown) > 1 and shown[-1].file == "threading.py":
            shown.pop()
        return [(f"{frame.file}:{frame.line}", frame.function) for frame in shown]

    def __str__(self) -> str:
        from crewlab.results.text import table

        return f"{CAPTION}\n{table([COLUMNS, *self.rows])}"

    def _repr_html_(self) -> str:
        from html import escape

        from crewlab.results.html import html_table, varies

        rows = [[f"<code>{escape(cell)}</code>" for cell in row] for row in self.rows]
        return varies(html_table(COLUMNS, rows, CAPTION))


def _short(path: str) -> str:
    inside = _LIBRARIES.sub("", path)
    if inside != path:
        return inside.replace("\\", "/")
    return re.split(r"[/\\]", path)[-1]
