"""Tools offered in words: what CrewAI does when an LLM object cannot take native tool calls.

The prompt then lists the tools and asks for ``Thought``, ``Action``, ``Action Input``, and in the
end ``Final Answer`` (crewai 1.15.30, translations/en.json, slices "tools" and "format").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from crewlab.services.asking import texts_of

_TOOL = re.compile(r"^Tool Name: (\S+)\nTool Arguments: ", re.MULTILINE)


def is_asked_in_words(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a conversation wants its answers as Thought, Action and Final Answer."""
    instructions = (m for m in messages if m.get("role") in ("system", "user", "developer"))
    return any("Action Input:" in text and _TOOL.search(text) for text in _texts(instructions))


def tool_in_words(messages: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any]] | None:
    """Decide whether to call a tool in words.

    Args:
        messages: a conversation of which `is_asked_in_words` is true.

    Returns:
        Name and argument schema of the first tool, or None if one has been called already.
    """
    answers = (message for message in messages if message.get("role") == "assistant")
    if any("Action:" in text for text in _texts(answers)):
        return None
    for text in texts_of(messages):
        found = _TOOL.search(text)
        if found:
            try:
                schema, _ = json.JSONDecoder().raw_decode(text, found.end())
            except ValueError:
                schema = {}
            return found[1], schema if isinstance(schema, dict) else {}
    return None


def action(name: str, arguments: Mapping[str, Any]) -> str:
    """Write the call of a tool."""
    thought = "Thought: I should look this up before I answer."
    return f"{thought}\nAction: {name}\nAction Input: {json.dumps(arguments)}"


def final_answer(text: str) -> str:
    """Write the answer that ends the conversation."""
    return f"Thought: I now know the final answer\nFinal Answer: {text}"


def _texts(messages: Any) -> list[str]:
    return list(texts_of(list(messages)))
