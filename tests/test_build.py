"""``crewlab build``: one Markdown chapter becomes the learner's and the solved edition."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from crewlab.building import BuildError, Project, build, execution, find_stale
from tests.courses import code, make_course, write_chapter

LEARNER = "notebooks/01_sample.ipynb"
SOLVED = "solutions/01_sample.ipynb"
TWO = {"_01_a": "# A\n\n" + code("print('a')"), "_02_b": "# B\n\n" + code("print('b')")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The sample chapter, built once; tests that change it work on a copy."""
    project = make_course(tmp_path_factory.mktemp("a course with spaces") / "the course")
    done = build(project, say=quiet)
    assert done.failures == ()
    assert done.written == (LEARNER, SOLVED)
    return project


@pytest.fixture
def course(built: Project, tmp_path: Path) -> Project:
    import shutil

    shutil.copytree(built.root, tmp_path / "course")
    return Project(tmp_path / "course")


def quiet(_: str) -> None:
    pass


def read(project: Project, name: str) -> Any:
    return nbformat.read(project.root / name, as_version=4)


def files(project: Project) -> dict[str, bytes]:
    return {
        path.relative_to(project.root).as_posix(): path.read_bytes()
        for path in sorted(project.root.glob("*/*"))
    }


def sources(notebook: Any) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


def test_the_learners_edition_has_the_exercise_and_neither_solution_nor_outputs(
    built: Project,
) -> None:
    notebook = read(built, LEARNER)
    assert "letters = None" in sources(notebook)
    assert "Only a learner reads this." in sources(notebook)
    assert 'len("crew")' not in sources(notebook)
    assert "looks at the solution" not in sources(notebook)
    assert all(
        cell.outputs == [] and cell.execution_count is None
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


def test_the_solved_edition_is_solved_and_executed_in_order(built: Project) -> None:
    notebook = read(built, SOLVED)
    assert "letters = None" not in sources(notebook)
    assert 'len("crew")' in sources(notebook)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code_cells] == list(range(1, len(code_cells) + 1))
    check = next(cell for cell in code_cells if "check" in cell.metadata.get("tags", []))
    assert check.outputs[0].data["text/plain"] == "4"


def test_a_widget_leaves_no_trace_and_an_updated_display_its_last_state(built: Project) -> None:
    notebook = read(built, SOLVED)
    cell = next(cell for cell in notebook.cells if "IntSlider()" in cell.source)
    assert [output.data.get("text/html") for output in cell.outputs] == ["done"]
    assert "widgets" not in notebook.metadata


def test_both_editions_name_their_kernel_and_source_and_nothing_that_varies(
    built: Project,
) -> None:
    for name in (LEARNER, SOLVED):
        notebook = read(built, name)
        assert notebook.metadata.kernelspec.name == "python3"
        assert notebook.metadata.crewlab.source == "chapters/01_sample.md"
        assert "version" not in notebook.metadata.language_info
        assert "execution" not in json.dumps([cell.metadata for cell in notebook.cells])
        text = (built.root / name).read_text(encoding="utf-8")
        assert text.endswith("}\n")
        assert not text.endswith("\n\n")


def test_a_cell_has_the_same_id_in_both_editions_and_ids_are_unique(built: Project) -> None:
    learner = {cell.source: cell.id for cell in read(built, LEARNER).cells}
    solved = {cell.source: cell.id for cell in read(built, SOLVED).cells}
    assert all(learner[source] == solved[source] for source in learner.keys() & solved.keys())
    assert len(set(learner.values()) | set(solved.values())) == len({*learner, *solved})


def test_no_traceback_shows_where_python_is_installed(built: Project) -> None:
    text = (built.root / SOLVED).read_text(encoding="utf-8")
    assert "ValueError" in text
    assert "site-packages" not in text
    assert sys.prefix not in text


def test_building_again_changes_nothing_and_loads_no_notebook_library(course: Project) -> None:
    before = files(course)
    program = (
        "import sys; from pathlib import Path; from crewlab.building import Project, build\n"
        f"print(build(Project(Path({str(course.root)!r}))).written)\n"
        "print([name for name in ('nbformat', 'jupytext', 'nbclient') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["()", "[]"], done.stderr
    assert files(course) == before


def test_building_by_force_gives_the_same_bytes_but_for_outputs(course: Project) -> None:
    learner, solved = files(course)[LEARNER], read(course, SOLVED)
    assert build(course, force=True, say=quiet).written == (LEARNER, SOLVED)
    assert files(course)[LEARNER] == learner
    for before, after in zip(solved.cells, read(course, SOLVED).cells, strict=True):
        before.pop("outputs", None)
        after.pop("outputs", None)
        assert before == after


def test_new_prose_keeps_the_outputs_without_running_anything(course: Project) -> None:
    chapter = course.root / "chapters" / "01_sample.md"
    # The clock in this output tells whether the cell ran again.
    before = read(course, SOLVED).cells[2].outputs
    chapter.write_text(
        chapter.read_text(encoding="utf-8").replace("Only who looks", "Everybody who looks"),
        encoding="utf-8",
    )
    told: list[str] = []
    build(course, say=told.append)
    assert "Everybody who looks" in sources(read(course, SOLVED))
    assert read(course, SOLVED).cells[2].outputs == before
    assert any("outputs are kept" in line for line in told)


def test_line_ends_of_a_windows_checkout_do_not_make_a_chapter_stale(course: Project) -> None:
    chapter = course.root / "chapters" / "01_sample.md"
    chapter.write_bytes(chapter.read_bytes().replace(b"\n", b"\r\n"))
    assert build(course, say=quiet).written == ()
    assert find_stale(course) == []


SHOWS = {
    "_01_a": "# A\n\n" + code("print('a')"),
    "_02_b": "# B\n\n" + code("import time\n\nfrom crewlab.takehome import part\n\ntime.time()"),
}
OF_B = ("notebooks/02_b.ipynb", "solutions/02_b.ipynb")


@pytest.fixture
def showing(tmp_path: Path) -> Project:
    """Have two chapters, of which the second shows files of the template."""
    project = make_course(tmp_path / "course", **SHOWS)
    service = project.root / "template" / "service"
    service.mkdir(parents=True)
    (service / "app.py").write_text("app = 1\n", encoding="utf-8")
    assert build(project, say=quiet).failures == ()
    return project


def test_a_change_of_the_template_runs_the_chapter_again_that_shows_it(showing: Project) -> None:
    before = read(showing, OF_B[1]).cells[1].outputs
    (showing.root / "template" / "service" / "app.py").write_text("app = 2\n", encoding="utf-8")
    assert [finding.split(" ")[0] for finding in find_stale(showing)] == list(OF_B)
    assert build(showing, say=quiet).written == OF_B
    assert read(showing, OF_B[1]).cells[1].outputs != before, "the clock in it stands still"
    assert find_stale(showing) == []


def test_a_new_file_of_the_template_counts_and_what_tools_leave_there_does_not(
    showing: Project,
) -> None:
    template = showing.root / "template"
    for name in (".pytest_cache/README.md", "service/__pycache__/app.cpython-312.pyc"):
        left = template / name
        left.parent.mkdir()
        left.write_text("left", encoding="utf-8")
    (template / "service" / "app.py").write_bytes(b"app = 1\r\n")
    assert find_stale(showing) == []
    (template / "README.md").write_text("New.\n", encoding="utf-8")
    assert build(showing, say=quiet).written == OF_B


def test_editing_one_chapter_rebuilds_that_chapter_only(tmp_path: Path) -> None:
    project = make_course(tmp_path / "course", **TWO)
    build(project, say=quiet)
    write_chapter(project.root, "02_b", "# B\n\n" + code("print('B')"))
    before = files(project)

    done = build(project, say=quiet)

    assert done.written == ("notebooks/02_b.ipynb", "solutions/02_b.ipynb")
    after = files(project)
    assert {name for name in after if after[name] != before[name]} == set(done.written)


def test_a_fresh_build_has_nothing_stale(built: Project) -> None:
    assert find_stale(built) == []


@pytest.mark.parametrize(
    ("edition", "old", "new", "reason"),
    [
        (LEARNER, "letters = None", "letters = 4", "not what its chapter makes"),
        (SOLVED, "letters = len", "letters = 4 or len", "not what its chapter makes"),
        (SOLVED, '"execution_count": 2', '"execution_count": 12', "not run in order"),
        (SOLVED, '"ename": "ValueError",', "", "it is not a notebook"),
        (SOLVED, '"nbformat": 4', '"nbformat":  4', "another tool"),
    ],
)
def test_an_edition_changed_by_hand_is_named_with_what_to_do(
    course: Project, edition: str, old: str, new: str, reason: str
) -> None:
    path = course.root / edition
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")

    (finding,) = find_stale(course)

    assert finding.startswith(f"{edition} is stale: ")
    assert reason in finding
    assert finding.endswith("Run: crewlab build --force 01_sample")


def test_a_solved_edition_without_its_outputs_is_stale(course: Project) -> None:
    notebook = read(course, SOLVED)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbformat.write(notebook, course.root / SOLVED)
    (finding,) = find_stale(course)
    assert finding.startswith(f"{SOLVED} is stale: its code cell 7 should raise.")


def test_a_changed_chapter_makes_both_editions_stale(course: Project) -> None:
    chapter = course.root / "chapters" / "01_sample.md"
    chapter.write_text(chapter.read_text(encoding="utf-8") + "\nMore.\n", encoding="utf-8")
    assert [finding.split(" ")[0] for finding in find_stale(course)] == [LEARNER, SOLVED]


def test_a_missing_edition_is_stale_and_a_notebook_without_chapter_is_named(
    course: Project,
) -> None:
    (course.root / LEARNER).rename(course.root / "notebooks" / "07_gone.ipynb")
    stale, orphan = find_stale(course)
    assert stale.startswith(f"{LEARNER} is stale: it does not exist.")
    assert orphan.startswith("notebooks/07_gone.ipynb has no chapter")
    assert orphan in build(course, say=quiet).failures


@pytest.mark.parametrize(
    ("source", "tags", "line", "message"),
    [
        ("x = 1\nprint(x / 0)", (), 9, "raised ZeroDivisionError: division by zero"),
        ("def f(\n    pass", (), 8, "raised SyntaxError"),
        ("import os\n\nos._exit(3)", (), 8, "killed its kernel"),
        ("import os\n\nprint(os.getcwd())", (), 8, "shows the project's folder"),
        ("import tempfile\n\nprint(tempfile.gettempdir())", (), 8, "temp folder"),
        ("print('fine')", ("raises-exception",), 10, "raised nothing"),
    ],
)
def test_a_cell_that_must_not_be_published_is_named_and_nothing_is_written(
    tmp_path: Path, source: str, tags: tuple[str, ...], line: int, message: str
) -> None:
    text = "# A\n\n" + code("print('first')") + "\n" + code(source, *tags)
    project = make_course(tmp_path / "course", _01_a=text)

    done = build(project, say=quiet)

    (failure,) = done.failures
    assert done.written == ()
    assert f"chapters/01_a.md:{line}: " in failure
    assert message in failure
    assert len(failure.splitlines()) <= 3
    assert not list(project.root.glob("*/*.ipynb"))
    assert not list(project.root.glob("*/*.tmp"))


def test_a_cell_that_hangs_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "CELL_SECONDS", 2)
    text = "# A\n\n" + code("import time\n\ntime.sleep(600)")
    project = make_course(tmp_path / "course", _01_a=text)
    (failure,) = build(project, say=quiet).failures
    assert failure.startswith("chapters/01_a.md:4: ")
    assert "did not finish within 2 s" in failure


def test_a_failing_chapter_keeps_its_old_editions_and_others_are_built(tmp_path: Path) -> None:
    project = make_course(tmp_path / "course", **TWO)
    build(project, say=quiet)
    before = files(project)
    broken = write_chapter(project.root, "01_a", "# A\n\n" + code("1 / 0"))
    write_chapter(project.root, "02_b", "# B\n\nNew prose.\n\n" + code("print('b')"))

    done = build(project, say=quiet)

    assert len(done.failures) == 1
    assert done.written == ("notebooks/02_b.ipynb", "solutions/02_b.ipynb")
    after = files(project)
    assert broken.is_file()
    for name in ("notebooks/01_a.ipynb", "solutions/01_a.ipynb"):
        assert after[name] == before[name]


def test_building_does_not_touch_the_authors_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWLAB_HOME", str(tmp_path / "mine"))
    source = "import os\n\nprint('mine' in os.environ['CREWLAB_HOME'])"
    project = make_course(tmp_path / "course", _01_a="# A\n\n" + code(source))
    assert build(project, say=quiet).failures == ()
    cell = read(project, "solutions/01_a.ipynb").cells[1]
    assert cell.outputs[0].text == "False\n"
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (code("1", "brokn"), "chapters/01_a.md:6: the tag 'brokn' means nothing"),
        ("- item\n\n  " + code("1").replace("\n", "\n  "), "01_a.md:5: this code cell would be"),
        ("```{codecell}\n1\n```\n", "01_a.md:3: this code cell would be shown as text"),
        ("```{code-cell}\n:tags: [a\n1\n```\n", "cannot be split into cells"),
        ("```{code-cell}\n:tags: a\n1\n```\n", "cannot be split into cells"),
    ],
)
def test_a_slip_in_the_markdown_is_named_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    project = make_course(tmp_path / "course", _01_a="# A\n\n" + text)
    (failure,) = build(project, say=quiet).failures
    assert message in failure
    assert len(failure.splitlines()) <= 3


@pytest.mark.parametrize("name", ["1", "01", "01_sample", "chapters/01_sample.md", SOLVED])
def test_a_chapter_answers_to_its_number_name_and_files(built: Project, name: str) -> None:
    assert [path.stem for path in built.select([name])] == ["01_sample"]


def test_an_unknown_chapter_is_refused_with_close_names(built: Project) -> None:
    with pytest.raises(BuildError, match="Did you mean 01_sample"):
        built.select(["01_simple"])
