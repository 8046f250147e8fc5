"""Answers support tickets, and notes each for the monthly statistics."""

from crewai import LLM, Agent, Crew, Task
from crewai.events import CrewKickoffStartedEvent, crewai_event_bus


@crewai_event_bus.on(CrewKickoffStartedEvent)
async def count_ticket(source, event) -> None:
    print("ticket of", event.inputs["company"])


def new_llm() -> LLM:
    return LLM(model="gpt-4o-mini", timeout=20)


def build_crew() -> Crew:
    support = Agent(
        role="Support engineer",
        goal="Help {company}",
        backstory="You know every manual.",
        llm=new_llm(),
    )
    ticket = Task(
        description="Answer the ticket of {company}.",
        expected_output="Two sentences to {company}.",
        agent=support,
    )
    return Crew(agents=[support], tasks=[ticket])


def run(inputs: dict) -> str:
    return build_crew().kickoff(inputs=inputs).raw


print("model says:", new_llm().call("Are you there?")[:20])
