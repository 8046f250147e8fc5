"""nbval, told what this course's notebooks need.

Beyond nbval: a kernel of its own home and temp folder; updates of a shown picture or table
arrive where they were first shown, as in a front end; live widgets are no output, as in the
built notebooks; a cell tagged raises-exception has to raise; the kernel may end in peace; and
afterwards nothing is left of it, and it has turned to no other machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from crewlab.building.execution import without_widget_views
from crewlab.building.kernel import CELL_SECONDS
from tests.watch import Watch

__all__ = ["CELL_SECONDS", "NotebookFile"]

OUTPUTS = {"stream", "display_data", "execute_result", "error"}


class NotebookFile(IPyNbFile):
    """A notebook whose code cells are the tests."""

    def __init__(self, *args: Any, strict: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.compare_outputs = strict
        self.shown: dict[str, list[tuple[list[Any], int]]] = {}
        self.rooms: Path | None = None
        self.watch: Watch | None = None
        self.running: NotebookCell | None = None
        self.clear_before_next = False

    def collect(self) -> Iterator[pytest.Item]:
        for item in super().collect():
            yield NotebookCell.from_parent(
                self, name=item.name, cell_num=item.cell_num, cell=item.cell, options=item.options
            )
        yield LeavesNothing.from_parent(self, name="leaves nothing behind")
        yield AsksNobodyElse.from_parent(self, name="turns to no other machine")

    def setup(self) -> None:
        self.rooms = Path(tempfile.mkdtemp(prefix="crewlab-nbval-"))
        before = dict(os.environ)
        self.watch = Watch(self.path, self.rooms)
        # nbval gives the kernel the environment this process has at that moment.
        _become(self.watch.environment)
        try:
            super().setup()
        finally:
            _become(before)

    def teardown(self) -> None:
        self.end_kernel()
        if self.rooms is not None:
            shutil.rmtree(self.rooms, ignore_errors=True)

    def end_kernel(self) -> None:
        """Close the notebook as a reader would."""
        # nbval kills the kernel at once. A reader's JupyterLab asks it to shut down first, and
        # only then do its replicas and services end the way they do for a reader.
        if self.kernel is not None and self.kernel.is_alive():
            self.kernel.km.shutdown_kernel(now=False)
            self.kernel.kc.stop_channels()

    def get_kernel_message(self, timeout: float | None = None, stream: str = "iopub") -> Any:
        """Read the next message, doing to earlier outputs what a front end does."""
        while True:
            message = super().get_kernel_message(timeout=timeout, stream=stream)
            kind, content = message["msg_type"], message["content"]
            display = content.get("transient", {}).get("display_id")
            if kind == "update_display_data":
                for outputs, place in self.shown.get(display, []):
                    outputs[place]["data"] = content["data"]
            elif kind == "clear_output":
                self.clear_before_next = content["wait"]
                if not content["wait"]:
                    self.clear()
            else:
                if kind in OUTPUTS and self.clear_before_next:
                    self.clear()
                if display and self.running is not None:
                    # nbval copies the message to the end of the cell's outputs next.
                    outputs = self.running.test_outputs
                    self.shown.setdefault(display, []).append((outputs, len(outputs)))
                return message

    def clear(self) -> None:
        self.clear_before_next = False
        if self.running is not None:
            outputs = self.running.test_outputs
            outputs.clear()
            for places in self.shown.values():
                places[:] = [(other, place) for other, place in places if other is not outputs]


class NotebookCell(IPyNbCell):
    """A code cell."""

    def runtest(self) -> None:
        self.parent.running = self
        self.parent.clear_before_next = False
        super().runtest()
        must_raise = "raises-exception" in self.cell.metadata.get("tags", [])
        if must_raise and not any(out.output_type == "error" for out in self.test_outputs):
            self.raise_cell_error("Tagged raises-exception, but it raised nothing")

    def compare_outputs(self, test: Any, ref: Any, skip_compare: Any = None) -> bool:
        return bool(
            super().compare_outputs(
                without_widget_views(test), without_widget_views(ref), skip_compare
            )
        )


class _AfterTheRun(pytest.Item):
    """What must be true once a notebook's cells have run and it was closed."""

    def runtest(self) -> None:
        self.parent.end_kernel()
        self.prove(self.parent.watch)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: {self.name}"


class LeavesNothing(_AfterTheRun):
    prove = staticmethod(Watch.assert_nothing_is_left)


class AsksNobodyElse(_AfterTheRun):
    prove = staticmethod(Watch.assert_no_other_machine_was_asked)


def _become(environment: dict[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
