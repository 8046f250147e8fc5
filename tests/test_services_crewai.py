"""The local services as CrewAI uses them: LLM, SerperDevTool, a whole kickoff, nothing outside."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

import pytest
import requests

from crewlab.services import Services

# CrewAI warns of its own deprecated fields whenever it copies an agent.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:crewai")


@pytest.fixture
def services(services: Services) -> Services:
    for endpoint in (services.model, services.search):
        endpoint.configure(latency=0)
        endpoint.reset()
    return services


def research_crew(llm: Any, **how: Any) -> Any:
    from crewai import Agent, Crew, Task
    from crewai_tools import SerperDevTool

    search = SerperDevTool(base_url=os.environ["SERPER_BASE_URL"])
    researcher = Agent(
        role="Researcher of {company}",
        goal="Find facts about {company}",
        backstory="Thorough.",
        llm=llm,
        tools=[search],
        max_iter=4,
    )
    research = Task(description="Research {company}", expected_output="facts", agent=researcher)
    return Crew(agents=[researcher], tasks=[research], **how)


def test_crewais_llm_gets_an_answer(services: Services) -> None:
    from crewai import LLM

    assert LLM(model="gpt-4o-mini").call("Research Aldermoor").startswith("Report on Aldermoor: ")
    streamed = LLM(model="gpt-4o-mini", stream=True).call("Research Aldermoor")
    assert streamed.startswith("Report on Aldermoor: ")
    assert services.model.stats().by_status == {200: 2}


def test_a_crew_searches_and_then_reports(services: Services) -> None:
    from crewai import LLM

    answer = research_crew(LLM(model="gpt-4o-mini")).kickoff(inputs={"company": "Aldermoor"})
    assert answer.raw.startswith("Report on Aldermoor: ")
    assert [call.tool for call in services.model.journal()] == [
        "search_the_internet_with_serper",
        None,
    ]
    (searched,) = services.search.journal()
    assert (searched.query, searched.names, searched.status) == (
        "Aldermoor",
        ("Aldermoor",),
        200,
    )


def test_a_crew_whose_llm_takes_tools_in_words_searches_too(services: Services) -> None:
    from crewai import BaseLLM
    from langchain_openai import ChatOpenAI

    class Delegate(BaseLLM):
        def call(self, messages: Any, *args: Any, **how: Any) -> Any:
            return ChatOpenAI(model=self.model).invoke(messages).content

    answer = research_crew(Delegate(model="gpt-4o-mini")).kickoff(inputs={"company": "Hartwell"})
    assert answer.raw.startswith("Report on Hartwell: ")
    assert [call.names for call in services.search.journal()] == [("Hartwell",)]


def test_a_crew_with_a_structured_result_gets_one(services: Services) -> None:
    from crewai import LLM, Agent, Crew, Task
    from pydantic import BaseModel

    class Report(BaseModel):
        company: str

    writer = Agent(role="Writer", goal="Write", backstory="b", llm=LLM(model="gpt-4o-mini"))
    write = Task(
        description="Write about {company}",
        expected_output="A report",
        agent=writer,
        output_pydantic=Report,
    )
    answer = Crew(agents=[writer], tasks=[write]).kickoff(inputs={"company": "Oakhurst"})
    assert "Oakhurst" in answer.pydantic.company


def test_a_search_that_fails_does_so_in_serpers_shape(services: Services) -> None:
    from crewai_tools import SerperDevTool

    tool = SerperDevTool(base_url=os.environ["SERPER_BASE_URL"])
    services.search.configure(latency=0, errors={1: 500}, max_in_flight=1)
    with pytest.raises(requests.HTTPError, match="500"):
        tool.run(search_query="Aldermoor")
    found = tool.run(search_query="Aldermoor")
    assert [result["position"] for result in found["organic"]] == [1, 2, 3]
    news = SerperDevTool(base_url=os.environ["SERPER_BASE_URL"], search_type="news")
    assert news.run(search_query="Aldermoor")["news"][0]["source"]
    assert services.search.stats().by_status == {200: 2, 500: 1}


def test_a_search_without_key_or_query_is_refused(services: Services) -> None:
    url = f"{os.environ['SERPER_BASE_URL']}/search"
    unauthorized = requests.post(url, json={"q": "Aldermoor"}, timeout=10)
    assert (unauthorized.status_code, unauthorized.json()["statusCode"]) == (403, 403)
    assert requests.post(url, json={}, timeout=10).json()["message"].startswith("Missing query")


# A hook cannot be taken off again, so it listens to whichever list is set here.
_heard: list[str] | None = None


def _listen(event: str, args: tuple[Any, ...]) -> None:
    if _heard is None:
        return
    if event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        _heard.append(str(args[1][0]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _heard.append(str(args[0]))


def test_a_kickoff_connects_to_the_loopback_interface_only(services: Services) -> None:
    from crewai import LLM

    global _heard
    sys.addaudithook(_listen)
    _heard = []
    try:
        crew = research_crew(LLM(model="gpt-4o-mini"), verbose=True)  # verbose looks for releases
        crew.kickoff(inputs={"company": "Aldermoor"})
    finally:
        heard, _heard = _heard, None
    assert heard
    assert [host for host in heard if not ipaddress.ip_address(host).is_loopback] == []
