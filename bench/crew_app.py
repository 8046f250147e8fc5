"""The app under load: one agent, one task, one model call."""

from __future__ import annotations

from typing import Any


def run(inputs: dict[str, Any]) -> str:
    # Imported here so that unpickling the function in a worker costs what it costs every engine.
    from crewai import LLM, Agent, Crew, Task

    writer = Agent(
        role="Writer",
        goal="Write a short note about {company}",
        backstory="You write for customers.",
        llm=LLM(model="gpt-4o-mini"),
    )
    report = Task(
        description="Write a note about {company}.",
        expected_output="Two sentences about {company}.",
        agent=writer,
    )
    return str(Crew(agents=[writer], tasks=[report]).kickoff(inputs=inputs).raw)
