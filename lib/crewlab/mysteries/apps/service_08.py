"""Asks every branch office about a customer."""

from threading import Thread

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from langchain_openai import ChatOpenAI

OFFICES = ["Aarhus", "Bergen", "Gdansk", "Lyon", "Porto", "Turin"]
chat = ChatOpenAI(model="gpt-4o-mini", max_retries=0)


def ask(office: str, company: str, answers: dict[str, str]) -> None:
    answers[office] = chat.invoke(f"What does {office} know about {company}?").text


@tool("ask_offices", result_as_answer=True)
def ask_offices(company: str) -> str:
    """Ask all branch offices about a company."""
    answers: dict[str, str] = {}
    asking = [Thread(target=ask, args=(office, company, answers)) for office in OFFICES]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return "\n".join(answers[office] for office in OFFICES)


def run(inputs: dict) -> str:
    manager = Agent(
        role="Account manager",
        goal="Know what all offices know about {company}",
        backstory="You hate surprises.",
        llm=LLM(model="gpt-4o-mini"),
        tools=[ask_offices],
    )
    survey = Task(
        description="Ask all offices about {company}.",
        expected_output="A line for each office.",
        agent=manager,
    )
    crew = Crew(agents=[manager], tasks=[survey], tool_failure_policy="raise")
    return crew.kickoff(inputs=inputs).raw
