"""A crew for each job, and retries counted in one place."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from service.jobs import Job
from service.settings import Settings
from tests.stand_ins import Model


@pytest.fixture
def settings(model: Model, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings()  # type: ignore[call-arg]


def test_no_two_jobs_share_an_object(settings: Settings) -> None:
    from service.crew import build_crew

    first, second = build_crew(settings), build_crew(settings)
    assert first.agents[0] is not second.agents[0]
    assert first.tasks[0] is not second.tasks[0]
    assert first.agents[0].llm is not second.agents[0].llm


def test_customers_at_once_are_each_told_about_themselves(settings: Settings) -> None:
    from service.crew import write_report

    jobs = [Job(company=name, key=name) for name in ("Aldermoor", "Eastvale", "Yarrow", "Birch")]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda job: write_report(settings, job), jobs))
    for job, report in zip(jobs, reports, strict=True):
        assert report.company == job.company
        assert job.company in report.text


@pytest.mark.parametrize("retries", [0, 1])
def test_a_failing_model_is_asked_once_and_once_more_for_each_retry(
    settings: Settings, model: Model, retries: int
) -> None:
    from service.crew import write_report

    model.status = 500
    with pytest.raises(Exception, match="500"):
        write_report(
            settings.model_copy(update={"service_model_retries": retries}),
            Job(company="Aldermoor", key="1"),
        )
    assert model.asked == 1 + retries


def test_a_model_that_does_not_answer_is_given_up(settings: Settings, model: Model) -> None:
    from service.crew import write_report

    model.latency = 60
    hasty = settings.model_copy(update={"service_model_seconds": 0.2, "service_model_retries": 0})
    with pytest.raises(Exception, match=r"(?i)time"):
        write_report(hasty, Job(company="Aldermoor", key="1"))
