"""Keeps notes on subscriptions, and renews them by letter."""

import tempfile
from pathlib import Path

from crewai import LLM, Agent, Crew, Task

NOTES = Path(tempfile.gettempdir())

writer = Agent(
    role="Subscriptions",
    goal="Renew the subscription of {company}",
    backstory="You know every customer.",
    llm=LLM(model="gpt-4o-mini"),
)


def take_note(company: str, note: str) -> str:
    (NOTES / f"{company}.txt").write_text(note)
    return f"Thank you, {company}. We have noted {note}."


def write_letter(company: str) -> str:
    letter = Task(
        description="Write the renewal for {company}. Its number is {note}.",
        expected_output="Two sentences to {company}.",
        agent=writer,
    )
    inputs = {"company": company, "note": (NOTES / f"{company}.txt").read_text()}
    return Crew(agents=[writer], tasks=[letter]).kickoff(inputs=inputs).raw


def run(inputs: dict) -> str:
    if inputs["step"] == "note":
        return take_note(inputs["company"], inputs["note"])
    return write_letter(inputs["company"])
