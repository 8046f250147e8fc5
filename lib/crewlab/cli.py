"""The ``crewlab`` command: check the environment, build the notebooks, start over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    name="crewlab",
    help="Tools of the course 'Scale CrewAI without the crash'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ProjectFolder = Annotated[
    Path | None,
    typer.Option("--project", help="The course's folder, if it is not this one.", hidden=True),
]


@app.callback()
def _crewlab() -> None:
    """Tools of the course 'Scale CrewAI without the crash'."""


@app.command()
def build(
    names: Annotated[
        list[str] | None, typer.Argument(help="Chapters, e.g. 01 or 01_name. Without: all.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say which editions are stale.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Build and run even what did not change.")
    ] = False,
    no_execute: Annotated[
        bool, typer.Option("--no-execute", help="The learner's edition only; run no cell.")
    ] = False,
    format_: Annotated[
        bool, typer.Option("--format", help="First format the code inside the chapters.")
    ] = False,
    project: ProjectFolder = None,
) -> None:
    """Build notebooks/ and solutions/ from chapters/."""
    from crewlab import building

    wanted = names or ()
    written: tuple[str, ...] = ()
    try:
        course = building.Project.find(project)
        if format_:
            for place in building.format_code(course, wanted):
                typer.echo(f"{place}: formatted")
        if check:
            problems = building.find_stale(course, wanted)
            findings = building.review(course, wanted)
            problems += ["\n".join(findings)] if findings else []
            problems += _log_page(course.root, write=False)
        else:
            built = building.build(
                course, wanted, force=force, run_cells=not no_execute, say=typer.echo
            )
            written = (*built.written, *_log_page(course.root, write=True))
            problems = list(built.failures)
    except building.BuildError as problem:
        _fail(str(problem))
    if problems:
        _fail("\n\n".join(problems))
    if not written:
        typer.echo("Everything is up to date.")


@app.command()
def check(project: ProjectFolder = None) -> None:
    """Check that everything the course needs works on this machine."""
    from crewlab import self_check, workspace

    failed = 0
    for finding in self_check.run_checks(project or workspace.project()):
        typer.echo(f"{'ok  ' if finding.works else 'FAIL'}  {finding.what}")
        if not finding.works:
            failed += 1
            typer.echo(f"      {finding.advice}")
    if failed:
        _fail(f"{failed} of the things above must be repaired before the chapters can run.")
    typer.echo("Everything works.")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Such as 14_count_your_tokens.")],
    project: ProjectFolder = None,
) -> None:
    """Start a new chapter: a whole small one, to be changed step by step."""
    from crewlab import building
    from crewlab.building.new import start_chapter

    try:
        for path in start_chapter(building.Project.find(project), name):
            typer.echo(f"{path}: written")
    except building.BuildError as problem:
        _fail(str(problem))
    typer.echo(f"Next: crewlab build {name[:2]}, and pytest tests/test_chapter_{name[:2]}.py")


@app.command()
def slides(
    names: Annotated[
        list[str] | None, typer.Argument(help="Chapters, e.g. 01 or 01_name. Without: all.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="The folder to write them to.")] = Path("slides"),
    project: ProjectFolder = None,
) -> None:
    """Make slides of chapters, one HTML file each, for a class."""
    from crewlab import building
    from crewlab.building.slides import make_slides

    try:
        course = building.Project.find(project)
        for chapter in course.select(names or ()):
            typer.echo(f"{make_slides(course, chapter, to)}: written")
    except building.BuildError as problem:
        _fail(str(problem))
    except OSError as problem:
        _fail(f"The slides cannot be written: {problem.strerror or problem}.")


@app.command()
def explain(
    text: Annotated[list[str], typer.Argument(help="A line of a log, or a piece of one.")],
) -> None:
    """Say which chapter explains a line of a log."""
    from crewlab import log_map

    found = log_map.explain(" ".join(text))
    if not found:
        _fail(
            "No chapter explains this line.\n"
            "Try the error's message alone, without its time and its names.\n"
            "LOGS.md lists every line that is explained."
        )
    for one in found:
        typer.echo(f"{one.line.text}\n    {one.line.means}\n    -> {one.chapter} {one.title}")


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_progress: Annotated[
        bool, typer.Option("--keep-progress", help="Keep what you have solved and answered.")
    ] = False,
) -> None:
    """Start over: remove the apps you wrote and your progress (a copy is kept)."""
    from crewlab import start_over, workspace

    home = workspace.home()
    what = "the apps you wrote" if keep_progress else "the apps you wrote, and your progress"
    if not yes and not typer.confirm(f"Remove {what} from the folder {home.name!r}?"):
        typer.echo("Nothing was removed.")
        return
    try:
        copy = start_over.reset(home, keep_progress=keep_progress)
    except start_over.StillOpen as problem:
        _fail(
            f"Still open: {', '.join(problem.args[0])}. Nothing was removed.\n"
            "In JupyterLab choose Kernel > Shut Down All Kernels, then try again."
        )
    except OSError as problem:
        _fail(
            f"Not everything could be removed: {problem.strerror or problem}.\n"
            f"Free the folder {home.name!r} and try again."
        )
    typer.echo(f"Removed {what}." + (f" A copy is in {copy.name}." if copy else ""))
    typer.echo("The notebooks stay as they are; crewlab build --force --no-execute renews them.")


def _log_page(root: Path, *, write: bool) -> list[str]:
    """Bring the map of log lines up to date, or say that it is not; other courses have none."""
    from crewlab import log_map, workspace
    from crewlab.building.project import write_atomically

    page = root / "LOGS.md"
    if root != workspace.project():
        return []
    text = log_map.as_markdown()
    if page.is_file() and page.read_text(encoding="utf-8") == text:
        return []
    if write:
        write_atomically(page, text)
        typer.echo("LOGS.md: written")
        return ["LOGS.md"]
    return ["LOGS.md is stale: it is not what lib/crewlab/chapters/ makes.\nRun: crewlab build"]


def main() -> None:
    """Run the command line."""
    app()


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(1)
