"""``python -m bench.learner``: what one learner's chapter takes of a machine, run from top to end.

Memory is the proportional share (PSS) of the kernel and all its processes together, where Linux
tells it; processor time is theirs, as last seen of each: the processes are looked at four times a
second, so what one used in its last quarter of a second is not counted.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient

from crewlab.building import SOLVED_FOLDER, Project
from crewlab.building.kernel import private_rooms, this_python
from crewlab.results.text import table

MIB = 1024 * 1024
BETWEEN_LOOKS = 0.25  # s


def main() -> None:
    """Run the chapters named on the command line, or all, and print one table."""
    project = Project.find()
    rows = []
    for chapter in project.select(sys.argv[1:]):
        seconds, slowest, processor, memory = run(project.notebook(chapter, SOLVED_FOLDER))
        rows.append(
            (
                chapter.stem,
                f"{seconds:.1f}",
                f"{slowest:.1f}",
                f"{processor:.0f}",
                f"{memory:.0f}",
            )
        )
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ("chapter", "seconds", "slowest cell", "processor s", "peak MiB")
    print(table([head, *rows]))


def run(notebook: Path) -> tuple[float, float, float, float]:
    """Run one notebook in a kernel of its own.

    Args:
        notebook: the file.

    Returns:
        Seconds in all, seconds of the slowest cell, processor seconds, and the peak in MiB.
    """
    cells = nbformat.read(notebook, nbformat.NO_CONVERT)
    began: dict[int, float] = {}
    took: dict[int, float] = {}
    peak = _Peak()
    with private_rooms() as (environment, rooms):
        client = NotebookClient(
            cells,
            kernel_manager_class=this_python(),
            timeout=120,
            resources={"metadata": {"path": str(rooms)}},
        )
        client.on_cell_start = lambda cell, cell_index: began.setdefault(cell_index, time.time())
        client.on_cell_executed = lambda cell, cell_index, execute_reply: took.setdefault(
            cell_index, time.time() - began[cell_index]
        )
        before = time.time()
        with peak:
            client.execute(env=environment, stderr=subprocess.DEVNULL)
        seconds = time.time() - before
    return seconds, max(took.values()), sum(peak.processor.values()), peak.memory


class _Peak:
    """Watches all processes below this one, while its block runs.

    Attributes:
        memory: the most they had together, MiB.
        processor: the seconds of each, by its process id.
    """

    def __init__(self) -> None:
        self.memory = 0.0
        self.processor: dict[int, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(BETWEEN_LOOKS):
            below = psutil.Process().children(recursive=True)
            self.memory = max(self.memory, sum(map(_share, below)) / MIB)
            for process in below:
                with contextlib.suppress(psutil.Error):
                    used = process.cpu_times()
                    self.processor[process.pid] = used.user + used.system


def _share(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(full, "pss", full.rss))


if __name__ == "__main__":
    main()
