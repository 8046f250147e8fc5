"""Notes what customers have ordered, and writes to them about it."""

import sqlite3
from contextlib import closing

from crewai import LLM, Agent, Crew, Task


def open_notes() -> sqlite3.Connection:
    notes = sqlite3.connect("notes.db", timeout=30)
    notes.execute("create table if not exists notes (company text primary key, note text)")
    return notes


def take_note(company: str, note: str) -> str:
    with closing(open_notes()) as notes, notes:
        notes.execute("insert or replace into notes values (?, ?)", (company, note))
    return f"Thank you, {company}. We have noted {note}."


def write_letter(company: str) -> str:
    with closing(open_notes()) as notes:
        found = notes.execute("select note from notes where company = ?", (company,)).fetchone()
    clerk = Agent(
        role="Clerk",
        goal="Write to {company}",
        backstory="You never leave a letter unanswered.",
        llm=LLM(model="gpt-4o-mini"),
    )
    letter = Task(
        description="Write to {company} about: {note}.",
        expected_output="Two sentences to {company}.",
        agent=clerk,
    )
    inputs = {"company": company, "note": found[0] if found else "their order"}
    return Crew(agents=[clerk], tasks=[letter]).kickoff(inputs=inputs).raw


def run(inputs: dict) -> str:
    if inputs["step"] == "note":
        return take_note(inputs["company"], inputs["note"])
    return write_letter(inputs["company"])
