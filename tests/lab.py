"""JupyterLab in a headless browser, as a learner uses it.

By hand, to look at a chapter::

    python -m tests.lab notebooks/01_shared_crew.ipynb artifacts/look

runs the whole notebook and leaves screenshots of all its parts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from crewlab.building.kernel import private_environment
from tests.hosts import free_port

ROOT = Path(__file__).resolve().parent.parent
NOT_SERVED = {"artifacts", "bench", "build", "lib", "tests", "work"}

# No sandbox: Chromium refuses to run as root with one. The rest keeps it from calling home.
CHROMIUM_SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
# JupyterLab attaches only the cells in view; a screenshot and a test want them all. Nothing else
# differs from what a learner has.
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}}

_NOTEBOOK = "window.jupyterapp.shell.currentWidget"
_CELLS = f"""() => {_NOTEBOOK}.content.widgets
    .map((widget, index) => ({{
        index,
        type: widget.model.type,
        tags: widget.model.getMetadata('tags') || [],
        source: widget.model.sharedModel.getSource(),
        run: widget.model.type === 'code' ? widget.model.executionCount : null,
        busy: widget.promptNode ? widget.promptNode.textContent.includes('*') : false,
        outputs: widget.model.type === 'code' ? widget.model.outputs.toJSON() : [],
    }}))
    .filter(cell => cell.type === 'code')"""
_READY = f"""() => {{
    const kernel = {_NOTEBOOK}?.context?.sessionContext?.session?.kernel;
    return Boolean(kernel && kernel.status === 'idle' && kernel.connectionStatus === 'connected');
}}"""


def find_chromium() -> str | None:
    """Find a Chromium or Chrome that Playwright can drive."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        path = shutil.which(name)
        if path:
            return path
    return None


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab.

    Attributes:
        url: its address, with a slash at the end.
        token: what the browser must show.
        folder: the folder it serves: a copy, since JupyterLab saves notebooks by itself.
    """

    url: str
    token: str
    folder: Path

    def address(self, notebook: str) -> str:
        """Give the page of a notebook, without the tabs of the pages before it."""
        return f"{self.url}lab/tree/{notebook}?token={self.token}&reset"


@contextlib.contextmanager
def running_lab(course: Path = ROOT) -> Iterator[Lab]:
    """Start JupyterLab as ``make lab`` does, on a copy of the course, without opening a browser.

    Args:
        course: the folder that has ``notebooks/`` in it.
    """
    with tempfile.TemporaryDirectory(prefix="crewlab-lab-", ignore_cleanup_errors=True) as name:
        rooms = Path(name).resolve()
        folder = rooms / "course"
        _copy_course(course, folder)
        environment = private_environment(rooms)
        environment |= _jupyter_folders(rooms)
        with (rooms / "lab.log").open("w", encoding="utf-8") as log:
            server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser"),
                    f"--config={ROOT / 'jupyter_lab_config.py'}",
                    f"--ServerApp.root_dir={folder}",
                    f"--ServerApp.port={free_port()}",
                    "--ServerApp.ip=127.0.0.1",
                    "--LabApp.expose_app_in_browser=True",
                ],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            try:
                yield _wait_for_lab(server, rooms, folder)
            finally:
                server.terminate()
                try:
                    server.wait(20)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()


@contextlib.contextmanager
def browser_page(width: int = 1180, height: int = 1400) -> Iterator[Page]:
    """Open an empty page in a headless Chromium with a profile of its own."""
    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError("There is no Chromium here: install the package called chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, headless=True, args=CHROMIUM_SWITCHES
        )
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


class NotebookPage:
    """A notebook open in the browser."""

    def __init__(self, page: Page, lab: Lab, notebook: str) -> None:
        self.page = page
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(lab.address(notebook))
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=60_000)
        # An earlier Run All would be lost without a word.
        page.wait_for_function(_READY, timeout=60_000)
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")

    def run_all(self, seconds: float = 120) -> float:
        """Choose Run > Run All Cells and wait for the end.

        Args:
            seconds: the longest wait.

        Returns:
            How long it took, in seconds.
        """
        started = time.monotonic()
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        self.wait_until_run(seconds)
        return time.monotonic() - started

    def wait_until_run(self, seconds: float = 60) -> None:
        """Wait until every code cell has run, or one has raised and so stopped the others."""
        # A mark the next Run cannot have set: JupyterLab first clears the counts.
        self.page.wait_for_function(
            f"""() => {{
                const cells = ({_CELLS})();
                const idle = {_NOTEBOOK}.context.sessionContext.session.kernel.status === 'idle';
                const settled = cells.every(cell => !cell.busy);
                const raised = cells.some(cell => cell.outputs.some(
                    output => output.output_type === 'error'));
                return idle && settled && (raised || cells.every(cell => cell.run !== null));
            }}""",
            timeout=seconds * 1000,
        )

    def cells(self) -> list[dict[str, Any]]:
        """List the code cells: index among all cells, tags, source, run, outputs."""
        found: list[dict[str, Any]] = self.page.evaluate(_CELLS)
        return found

    def cell(self, tag: str) -> dict[str, Any]:
        """Give the first code cell with a tag."""
        return next(cell for cell in self.cells() if tag in cell["tags"])

    def element(self, index: int) -> Any:
        """Locate a cell on the page by its index among all cells."""
        return self.page.locator(".jp-NotebookPanel .jp-Notebook .jp-Cell").nth(index)

    def errors(self) -> list[str]:
        """List the errors in the outputs, as text."""
        return [
            f"cell {cell['index']}: {output['ename']}: {output['evalue']}"
            for cell in self.cells()
            for output in cell["outputs"]
            if output["output_type"] == "error"
        ]

    def text(self, index: int) -> str:
        """Read what a cell shows on the page, widgets included."""
        return str(self.element(index).locator(".jp-Cell-outputArea").inner_text())

    def rewrite(self, index: int, source: str) -> None:
        """Replace a cell's text with the keyboard."""
        editor = self.element(index).locator(".cm-content")
        editor.click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source)

    def run_cell(self, index: int, seconds: float = 60) -> None:
        """Run one cell with Shift+Enter and wait until it has run."""
        before = next(cell["run"] for cell in self.cells() if cell["index"] == index)
        self.element(index).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function(
            f"""([index, before]) => {{
                const cell = ({_CELLS})().find(cell => cell.index === index);
                return !cell.busy && cell.run !== null && cell.run !== before;
            }}""",
            arg=[index, before],
            timeout=seconds * 1000,
        )

    def shut_down(self) -> None:
        """Shut the notebook's kernel down, as one should with a chapter that one has left."""
        self.page.evaluate(f"{_NOTEBOOK}.context.sessionContext.shutdown()")

    def photograph(self, index: int, file: Path) -> None:
        """Photograph one cell."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.element(index).screenshot(path=str(file))

    def screenshots(self, folder: Path, name: str) -> list[Path]:
        """Photograph the whole notebook, one file a screenful.

        Args:
            folder: where the PNG files go; made if missing.
            name: what each file's name starts with.

        Returns:
            The files, from top to bottom.
        """
        folder.mkdir(parents=True, exist_ok=True)
        scroller = self.page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer").first
        height = scroller.evaluate("element => element.clientHeight")
        whole = scroller.evaluate("element => element.scrollHeight")
        files = []
        step = max(int(height) - 60, 200)
        for number, top in enumerate(range(0, int(whole), step), 1):
            scroller.evaluate("(element, top) => { element.scrollTop = top; }", top)
            self.page.wait_for_timeout(150)
            files.append(folder / f"{name}-{number:02d}.png")
            self.page.screenshot(path=str(files[-1]))
        return files


def _copy_course(course: Path, folder: Path) -> None:
    folder.mkdir()
    for path in course.iterdir():
        if path.name.startswith(".") or path.name in NOT_SERVED:
            continue
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        elif path.suffix == ".md":
            shutil.copy(path, folder)


def _jupyter_folders(rooms: Path) -> dict[str, str]:
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    for plugin, settings in SETTINGS.items():
        file = rooms / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    return {variable: str(rooms / room) for variable, room in folders.items()}


def _wait_for_lab(server: subprocess.Popen[bytes], rooms: Path, folder: Path) -> Lab:
    deadline = time.monotonic() + 60
    note = rooms / "runtime" / f"jpserver-{server.pid}.json"
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(note.read_text(encoding="utf-8"))
            address = f"{said['url']}api?token={said['token']}"
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - our own server
                return Lab(said["url"], said["token"], folder)
        time.sleep(0.1)
    log = (rooms / "lab.log").read_text(encoding="utf-8")
    raise RuntimeError(f"JupyterLab did not start.\n{log[-2000:]}")


def main() -> None:
    """Run a notebook in the browser and photograph it."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=main.__doc__)
    parser.add_argument("notebook", help="such as notebooks/01_shared_crew.ipynb")
    parser.add_argument("folder", type=Path, help="where the screenshots go")
    parser.add_argument("--no-run", action="store_true", help="only open it")
    wanted = parser.parse_args()
    notebook = Path(wanted.notebook).as_posix()
    os.chdir(ROOT)
    with running_lab() as lab, browser_page() as page:
        shown = NotebookPage(page, lab, notebook)
        if not wanted.no_run:
            print(f"Run whole in {shown.run_all():.1f} s")
            print("\n".join(shown.errors()) or "No cell raised.")
        for file in shown.screenshots(wanted.folder, Path(notebook).stem):
            print(file)


if __name__ == "__main__":
    main()
