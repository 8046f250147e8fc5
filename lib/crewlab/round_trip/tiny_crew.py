"""The smallest crew: one agent, one task."""

from __future__ import annotations

from typing import Any

from crewai import LLM, Agent, Crew, Task


def run(inputs: dict[str, Any]) -> str:
    """Report on a company."""
    llm = LLM(model="gpt-4o-mini")
    agent = Agent(role="Reporter", goal="Report", backstory="You report.", llm=llm)
    task = Task(description="Report on {company}", expected_output="A report", agent=agent)
    return str(Crew(agents=[agent], tasks=[task]).kickoff(inputs=inputs).raw)
