"""Parts of the take-home service's files, read when they are shown: they are never stale."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from crewlab.errors import ToldValueError
from crewlab.takehome.checklist import template


@dataclass(frozen=True)
class Part:
    """A file, or a function or class of it.

    Attributes:
        file: its path from the course's folder.
        line: where the part starts, from 1.
        source: its text.
    """

    file: str
    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}\n\n{self.source}"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"`{self.file}`, line {self.line}:\n\n```python\n{self.source}\n```"


def part(file: str, name: str | None = None) -> Part:
    """Give a file of the take-home service, or a part of it.

    Args:
        file: its name in ``template/service``, or its path in ``template``.
        name: a function, class, or method such as ``Desk.report``; without, the whole file.

    Returns:
        The part, without docstrings: the notebook's text says what they say.

    Raises:
        ValueError: there is no such file or name.
    """
    path = find(file)
    source = path.read_text(encoding="utf-8")
    tree: ast.AST = ast.parse(source)
    lines = source.splitlines()
    skipped = _docstring_lines(tree, lines)
    first, last = 1, len(lines)
    for piece in name.split(".") if name else ():
        tree = _child(tree, piece, path)
        decorators = getattr(tree, "decorator_list", [])
        first = decorators[0].lineno if decorators else tree.lineno  # type: ignore[attr-defined]
        last = tree.end_lineno or last  # type: ignore[attr-defined]
    kept = [line for at, line in enumerate(lines[first - 1 : last], first) if at not in skipped]
    while kept and not kept[0].strip():
        kept.pop(0)
    indent = min((len(line) - len(line.lstrip()) for line in kept if line.strip()), default=0)
    text = "\n".join(line[indent:] for line in kept)
    return Part(path.relative_to(template().parent).as_posix(), first, text)


def find(file: str) -> Path:
    """Find a file by its name in ``service``, or its path in ``template``.

    Raises:
        ValueError: there is none.
    """
    for path in (template() / "service" / file, template() / "tests" / file, template() / file):
        if path.is_file():
            return path
    raise ToldValueError(f"template/ has no file {file!r}.")


def _child(tree: ast.AST, name: str, path: Path) -> ast.AST:
    for node in getattr(tree, "body", []):
        if getattr(node, "name", None) == name:
            return node  # type: ignore[no-any-return]
    raise ToldValueError(f"{path.name} has no {name!r}.")


def _docstring_lines(tree: ast.AST, lines: list[str]) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            continue
        match node.body:
            case [ast.Expr(value=ast.Constant(value=str())) as text, *_]:
                last = text.end_lineno or text.lineno
                while last < len(lines) and not lines[last].strip():
                    last += 1
                found.update(range(text.lineno, last + 1))
    return found
