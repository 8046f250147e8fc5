"""Notebooks as tests: what strict and lax comparison of stored outputs let pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from crewlab.building import Project, build
from tests.courses import ROOT, code, make_course

TEXT = "# A\n\n" + "\n".join(
    [
        # The watch must see something; connecting a datagram socket sends nothing.
        code(
            'import socket\n\nsocket.socket(type=socket.SOCK_DGRAM).connect(("127.0.0.1", 9))\n'
            'print("the same")'
        ),
        code('import time\n\nprint(f"~~~ varies\\n{time.time()}\\n~~~\\nnever")'),
        code('raise ValueError("a lesson")', "raises-exception"),
    ]
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_course(tmp_path_factory.mktemp("items") / "course", _00_a=TEXT)
    assert build(project, say=lambda _: None).failures == ()
    return project


def run_pytest(project: Project, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the notebooks of a course with this course's ``conftest.py``."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-q"),
            *("-c", os.devnull, "--rootdir", str(project.root), "--color=no", *options),
            *("notebooks", "solutions"),
        ],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.whole
def test_a_fresh_build_passes_also_over_two_workers(built: Project) -> None:
    done = run_pytest(built, "-n", "2")
    assert "10 passed" in done.stdout, done.stdout


def test_a_changed_output_fails_in_the_solved_edition_only(built: Project, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(built.root, tmp_path / "course")
    for folder in ("notebooks", "solutions"):
        path = tmp_path / "course" / folder / "00_a.ipynb"
        notebook = nbformat.read(path, as_version=4)
        same, varying, raising = (cell for cell in notebook.cells if cell.cell_type == "code")
        stored = nbformat.v4.new_output("stream", name="stdout", text="something else\n")
        same.outputs, same.execution_count = [stored], 1
        raising.source = (
            "import contextlib, pathlib, tempfile\n"
            "pathlib.Path(tempfile.gettempdir(), 'left').touch()\n"
            "with contextlib.suppress(OSError):\n"
            "    socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))\n"  # RFC 5737
            "print('nothing is raised')"
        )
        if folder == "solutions":
            varying.outputs[0].text = varying.outputs[0].text.replace(
                "~~~ varies\n", "~~~ varies\n9"
            )
            varying.outputs[0].text += "and more\n"
        nbformat.write(notebook, path)

    done = run_pytest(Project(tmp_path / "course"))

    failed = {
        line.removeprefix("FAILED ").split(" - ")[0]
        for line in done.stdout.splitlines()
        if line.startswith("FAILED")
    }
    assert failed == {
        "notebooks/00_a.ipynb::Cell 2",
        "solutions/00_a.ipynb::Cell 0",
        "solutions/00_a.ipynb::Cell 1",
        "solutions/00_a.ipynb::Cell 2",
        *(
            f"{folder}/00_a.ipynb::{proof}"
            for folder in ("notebooks", "solutions")
            for proof in ("leaves nothing behind", "turns to no other machine")
        ),
    }, done.stdout
    assert "it raised nothing" in done.stdout
