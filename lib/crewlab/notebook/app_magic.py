"""``%%app NAME``: the cell becomes a module, the way an app reaches a server."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import keyword
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crewlab import workspace
from crewlab.app import App
from crewlab.notebook.show import CellRefused

COURSE_NAMES: tuple[str, ...] = (
    "App",
    "COMPANIES",
    "Eviction",
    "capacity",
    "check",
    "compare",
    "diff",
    "explore",
    "growth",
    "hint",
    "progress",
    "quiz",
    "scale",
    "services",
)
"""What ``%load_ext crewlab`` puts into the notebook; an app of that name would hide it."""

_WINDOWS_DEVICES = {"aux", "con", "nul", "prn"} | {
    f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)
}
_WIDTH = 88  # columns of an offending line that are shown
_TRY_BODIES = ("body", "orelse", "finalbody", "handlers")


def save(line: str, cell: str, namespace: dict[str, Any]) -> App:
    """Save a cell as a module and bind its name to the app.

    Args:
        line: what follows ``%%app``.
        cell: the module's text.
        namespace: the notebook's variables. A refused cell loses its name there, so that what
            follows cannot take an older version for the one on the screen.

    Returns:
        The app, saved.

    Raises:
        CellRefused: with what is wrong and what to do, in three lines or fewer.
    """
    name = line.strip()
    if isinstance(namespace.get(name), App):
        del namespace[name]
    problem = name_problem(name)
    if problem:
        raise CellRefused(problem)
    source = cell.strip("\n") + "\n"
    problem = source_problem(name, source)
    if problem:
        raise CellRefused(problem)
    app = App(name, _write(name, source))
    namespace[name] = app
    lines = len(source.splitlines())
    print(f"Saved {name}.py ({lines} line{'' if lines == 1 else 's'})")
    return app


def name_problem(name: str) -> str | None:
    """Say why an app cannot have this name; None if it can."""
    if not name:
        return "The app needs a name.\nWrite it after the magic, for instance: %%app broken"
    wrong = f"An app cannot be called {name!r}: "
    other = "\nChoose another name, for instance: %%app broken"
    if not (name.isidentifier() and name.isascii()):
        return f"{wrong}it is saved as a module, and no import could spell that.{other}"
    if keyword.iskeyword(name):
        return f"{wrong}it is a word of the Python language, so `import {name}` fails.{other}"
    if name != name.lower() or name.startswith("_"):
        return f"{wrong}module names are lower case and start with a letter.{other}"
    if name in COURSE_NAMES or hasattr(builtins, name):
        owner = "the course" if name in COURSE_NAMES else "Python"
        return f"{wrong}it would hide `{name}` of {owner} in this notebook.{other}"
    if name in _WINDOWS_DEVICES:
        return f"{wrong}Windows keeps that file name for a device.{other}"
    if _is_module(name):
        return f"{wrong}a module of that name is installed, and the app would hide it.{other}"
    return None


def source_problem(name: str, source: str) -> str | None:
    """Say why a text cannot be an app; None if it can.

    Args:
        name: the app's name.
        source: its text.

    Returns:
        The message: a syntax error with file, line and caret, or what ``run`` lacks.
    """
    if not source.strip():
        return (
            f"{name}.py would be empty: an app needs at least `def run(inputs)`.\n"
            "Write the app below the line with %%app, in the same cell."
        )
    try:
        source.encode("utf-8")
        tree = ast.parse(source, f"{name}.py")
        compile(source, f"{name}.py", "exec", dont_inherit=True)  # finds what parsing does not
    except SyntaxError as error:
        return _syntax_message(name, source, error)
    except (ValueError, RecursionError, MemoryError) as error:
        return (
            f"{name}.py cannot be compiled: {error}.\n"
            "Look for characters that came along when the text was copied, or for nesting that"
            " is far too deep."
        )
    return _import_problem(name, tree) or _run_problem(name, tree)


def _syntax_message(name: str, source: str, error: SyntaxError) -> str:
    lines = source.splitlines()
    number = min(max(error.lineno or 1, 1), len(lines))
    text = lines[number - 1].replace("\t", " ")  # one column each, or the caret would be off
    column = max((error.offset or 1) - 1, 0)
    start = max(0, column - _WIDTH // 2) if len(text) > _WIDTH else 0
    reason = error.msg
    if text.lstrip()[:1] in ("%", "!"):
        reason = "an app is plain Python, without notebook commands"
    shown = text[start : start + _WIDTH]
    return f"{name}.py:{number}: {reason}\n    {shown}\n    {' ' * (column - start)}^"


def _import_problem(name: str, tree: ast.Module) -> str | None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        else:
            continue
        if any(module.split(".")[0] == "crewlab" for module in modules):
            return (
                f"{name}.py:{node.lineno}: an app never imports crewlab.\n"
                "It stands for code in production, where this course is not installed.\n"
                "Use `crewlab` in other cells, and plain CrewAI in the app."
            )
    return None


def _run_problem(name: str, tree: ast.Module) -> str | None:
    example = "Define it at the top level: def run(inputs): ..."
    definition = None
    for node in _top_level(tree.body):
        if "run" in _names_bound(node):
            definition = node
    if definition is None:
        return f"{name}.py has no `run`, the function a replica calls for each request.\n{example}"
    where = f"{name}.py:{definition.lineno}"
    if isinstance(definition, ast.AsyncFunctionDef):
        return (
            f"{where}: `run` is async, and a replica calls it as a plain function.\n"
            "Keep `def run(inputs)`, and call asyncio.run(...) inside it."
        )
    if isinstance(definition, ast.FunctionDef) and not _takes_one(definition.args):
        return f"{where}: a replica calls `run` with one argument, the request's inputs.\n{example}"
    return None


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run at import, in order, those inside if, try and with too."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for part in _TRY_BODIES:
                for inner in getattr(statement, part, []):
                    nested = inner.body if isinstance(inner, ast.ExceptHandler) else [inner]
                    yield from _top_level(nested)


def _names_bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Constant):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    found = (inner for target in targets for inner in ast.walk(target))
    return {inner.id for inner in found if isinstance(inner, ast.Name)}


def _takes_one(arguments: ast.arguments) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    keyword_only = any(default is None for default in arguments.kw_defaults)
    return required <= 1 and (positional >= 1 or arguments.vararg is not None) and not keyword_only


def _is_module(name: str) -> bool:
    if name in sys.stdlib_module_names or name in sys.builtin_module_names:
        return True
    try:
        spec = importlib.util.find_spec(name)
        # A learner who imports an app by hand may save it again.
        ours = spec and spec.origin and Path(spec.origin).is_relative_to(workspace.home())
    except (ImportError, ValueError, OSError):  # e.g. half-initialised modules without a spec
        return name in sys.modules
    return spec is not None and not ours


def _write(name: str, source: str) -> Path:
    try:
        return _write_into(workspace.chapter_folder(), name, source)
    except OSError as problem:
        try:
            workspace.leave_home(problem)
            return _write_into(workspace.chapter_folder(), name, source)
        except OSError as again:
            raise CellRefused(
                f"{name}.py cannot be saved: {again.strerror or again}.\n"
                f"Neither the work folder nor {tempfile.gettempdir()!r} takes a file.\n"
                "Free some space, or set CREWLAB_HOME to another folder and restart the kernel."
            ) from None


def _write_into(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    workspace.write_atomically(path, source)
    # Python trusts a cached module of the same second and size: a quick edit would go unnoticed.
    Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    return path
