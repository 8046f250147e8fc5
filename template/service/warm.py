"""What a worker builds before it takes customers: after any fork, and on one thread.

CrewAI and the OpenAI SDK put off building parts of themselves until they are used, and build them
without a lock. Where the first kickoffs of a process meet, one of them may fail with ``dictionary
changed size during iteration`` or ``type object 'BaseModel' has no attribute
'__pydantic_core_schema__'`` (crewai 1.15.30, openai 2.54.0, pydantic 2.12).
"""

from __future__ import annotations

from collections.abc import Iterator

from crewai.agents.agent_executor import AgentExecutor
from pydantic import BaseModel

USED_BY_A_KICKOFF = ("crewai.", "openai.types.chat", "openai.types.completion_usage")


def warm_up() -> None:
    """Build what the first kickoffs would build; no model is asked."""
    AgentExecutor.flow_definition()
    for model in _below(BaseModel):
        if model.__module__.startswith(USED_BY_A_KICKOFF):
            model.model_rebuild(raise_errors=False)


def _below(parent: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for child in parent.__subclasses__():
        yield child
        yield from _below(child)
