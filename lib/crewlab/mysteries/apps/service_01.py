"""Briefs the sales team before a visit."""

from crewai import LLM, Agent, Crew, Task

STAFF = {
    "scout": Agent(
        role="Scout",
        goal="Collect what matters about {company}",
        backstory="You prepare visits.",
        llm=LLM(model="gpt-4o-mini"),
    ),
    "editor": Agent(
        role="Editor",
        goal="Make a briefing on {company} that is read in a minute",
        backstory="You write for people in a train.",
        llm=LLM(model="gpt-4o-mini"),
    ),
}


def task_for(who: str, description: str) -> Task:
    return Task(description=description, expected_output="Two sentences.", agent=STAFF[who])


def run(inputs: dict) -> str:
    facts = task_for("scout", "Collect facts about {company}.")
    briefing = task_for("editor", "Write the briefing on {company}.")
    crew = Crew(agents=list(STAFF.values()), tasks=[facts, briefing])
    return crew.kickoff(inputs=inputs).raw
