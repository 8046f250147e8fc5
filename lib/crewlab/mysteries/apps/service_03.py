"""Reviews the contract with a customer."""

from crewai import LLM, Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task

CLAUSE = "The parties agree that either of them may end this contract with a notice of a month. "


def read_contract(company: str) -> str:
    """Give the contract's text: in production from the archive, here made up."""
    return f"Contract with {company}. " + CLAUSE * 70_000


@CrewBase
class Review:
    """Reviews one contract."""

    def __init__(self, company: str) -> None:
        self.contract = read_contract(company)

    @agent
    def lawyer(self) -> Agent:
        return Agent(
            role="Lawyer",
            goal="Find what is odd in the contract with {company}",
            backstory="You read the small print.",
            llm=LLM(model="gpt-4o-mini"),
        )

    @task
    def opinion(self) -> Task:
        return Task(
            description="Review the contract with {company}. It has "
            + f"{self.contract.count('. ')} clauses.",
            expected_output="Two sentences about {company}.",
            agent=self.lawyer(),
        )

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)


def run(inputs: dict) -> str:
    return Review(inputs["company"]).crew().kickoff(inputs=inputs).raw
