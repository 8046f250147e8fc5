"""Sums up calls with customers."""

import os

from crewai import LLM, Agent, Crew, Task

MODEL = os.getenv("CALLS_MODEL", "gpt-4o-mini")
KEY = os.getenv("OPENAI_API_KEY")


def build_crew() -> Crew:
    secretary = Agent(
        role="Secretary",
        goal="Sum up the call with {company}",
        backstory="You listen well.",
        llm=LLM(model=MODEL, api_key=KEY),
    )
    summary = Task(
        description="Sum up the call with {company}.",
        expected_output="Two sentences about {company}.",
        agent=secretary,
    )
    return Crew(agents=[secretary], tasks=[summary])


def run(inputs: dict) -> str:
    return build_crew().kickoff(inputs=inputs).raw
