"""Reading a request to the model: whom it asks about, and what its tools and schemas want."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crewlab.companies import COMPANIES

_WORD = re.compile(r"\b(?:Customer-\d+|[A-Z]\w*)\b")
_NUMBERED = re.compile(r"Customer-\d+|U\d+")
_COMPANIES = frozenset(COMPANIES)
_SUBJECT_LENGTH = 80
_DEEPEST_SCHEMA = 8


def texts_of(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give every piece of text in a conversation, the arguments of tool calls included.

    Args:
        messages: the messages of a chat completion request.

    Yields:
        The texts in order.
    """
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            for part in content:
                if isinstance(part, dict) and isinstance(part.get("text"), str):
                    yield part["text"]
        for call in message.get("tool_calls") or ():
            function = call.get("function")
            yield str(function.get("arguments", "")) if isinstance(function, dict) else ""


def names_in(text: str) -> tuple[str, ...]:
    r"""Find the customers a text names.

    Args:
        text: any text. A line break written as ``\n``, as in JSON within JSON, parts words too.

    Returns:
        The course's companies and tokens like ``Customer-12`` or ``U7``, matched as whole words,
        each once, in order of first appearance.
    """
    words = dict.fromkeys(_WORD.findall(text.replace("\\n", "\n")))
    return tuple(word for word in words if word in _COMPANIES or _NUMBERED.fullmatch(word))


def subject_of(messages: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Say in a few words what a conversation is about.

    Args:
        messages: the messages of the request.
        names: the customers they name.

    Returns:
        The names, or else the beginning of the last thing the user said.
    """
    if names:
        return " and ".join(names)
    said = [text for text in texts_of([m for m in messages if m.get("role") == "user"]) if text]
    return " ".join(said[-1].split())[:_SUBJECT_LENGTH] if said else "the question"


def fill(schema: Mapping[str, Any], subject: str) -> Any:
    """Make a value that fits a JSON schema, with the subject wherever it wants text.

    Args:
        schema: the schema of a tool's parameters or of a structured answer, a dictionary.
        subject: what to write into its strings.

    Returns:
        The value. Properties that need not be there are left out.
    """
    return _fill(schema, subject, schema, 0)


def _fill(schema: Any, subject: str, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > _DEEPEST_SCHEMA:
        return subject
    schema = _resolved(schema, root)
    for plain in ("const", "default"):
        if plain in schema:
            return schema[plain]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return _fill(schema[choice][0], subject, root, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object" or "properties" in schema or depth == 0:
        wanted = schema.get("properties") or {}
        free = [name for name, of in wanted.items() if "default" not in of]
        required = schema.get("required", free)
        return {name: _fill(wanted.get(name), subject, root, depth + 1) for name in required}
    if kind == "array":
        return [_fill(schema.get("items"), subject, root, depth + 1)]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return {"boolean": False, "null": None}.get(str(kind), subject)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference like ``#/$defs/Report`` inside the schema."""
    path = schema.get("$ref")
    if not isinstance(path, str) or not path.startswith("#/"):
        return schema
    found: Any = root
    for step in path[2:].split("/"):
        found = found.get(step, {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}
