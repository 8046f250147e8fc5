"""The ``crewlab`` command: check the environment, build the notebooks, start over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

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
        else:
            built = building.build(
                course, wanted, force=force, run_cells=not no_execute, say=typer.echo
            )
            problems, written = list(built.failures), built.written
    except building.BuildError as problem:
        _fail(str(problem))
    if problems:
        _fail("\n\n".join(problems))
    if not written:
        typer.echo("Everything is up to date.")


def main() -> None:
    """Run the command line."""
    app()


def _fail(message: str) -> None:
    typer.echo(message, err=True)
    sys.exit(1)
