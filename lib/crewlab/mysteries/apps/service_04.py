"""Sends a morning note about each customer, with the news of the day."""

import json
import os
from urllib.request import Request, urlopen

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

NEWS = os.environ["SERPER_BASE_URL"] + "/news"
HEADERS = {"X-API-KEY": os.environ["SERPER_API_KEY"], "Content-Type": "application/json"}


@tool("find_news")
def find_news(company: str) -> str:
    """Find the news of the day about a company."""
    request = Request(NEWS, json.dumps({"q": company}).encode(), HEADERS)
    with urlopen(request) as response:
        return response.read().decode()


def run(inputs: dict) -> str:
    reporter = Agent(
        role="Reporter",
        goal="Tell what happened at {company}",
        backstory="You are up before everybody else.",
        llm=LLM(model="gpt-4o-mini", timeout=20, max_retries=1),
        tools=[find_news],
        max_execution_time=20,
    )
    note = Task(
        description="Write the morning note about {company}.",
        expected_output="Two sentences about {company}.",
        agent=reporter,
    )
    return Crew(agents=[reporter], tasks=[note]).kickoff(inputs=inputs).raw
