"""The crew: everything is made inside a function, and made anew for each job."""

from __future__ import annotations

from crewai import LLM, Agent, Crew, Task

from service.jobs import Job, Report
from service.settings import Settings


def build_crew(settings: Settings) -> Crew:
    """Make a crew that no other job shares.

    Args:
        settings: the service's.

    Returns:
        The crew. Its retries are counted in one place, the model's client: the agent adds none.
    """
    llm = LLM(
        model=settings.service_model,
        api_key=settings.openai_api_key.get_secret_value(),
        base_url=settings.openai_base_url,
        timeout=settings.service_model_seconds,
        max_retries=settings.service_model_retries,
    )
    writer = Agent(
        role="Writer",
        goal="Write a short report on {company}",
        backstory="You write for customers.",
        llm=llm,
        max_retry_limit=0,
    )
    report = Task(
        description="Write a report on {company}.",
        expected_output="Two sentences about {company}.",
        agent=writer,
    )
    return Crew(agents=[writer], tasks=[report])


def write_report(settings: Settings, job: Job) -> Report:
    """Do a job, on the thread that calls.

    Args:
        settings: the service's.
        job: plain data; nothing else reaches the crew.

    Returns:
        The report.

    Raises:
        Exception: whatever a kickoff raises.
    """
    text = build_crew(settings).kickoff(inputs={"company": job.company}).raw
    return Report(company=job.company, text=text)
