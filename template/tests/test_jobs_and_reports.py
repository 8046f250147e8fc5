"""Plain data in, plain data out, and one report for each key."""

from __future__ import annotations

import tempfile
import threading
import uuid
from pathlib import Path

import boto3
import pytest
from pydantic import ValidationError

from service.jobs import Job, Report
from service.reports import KeyTaken, Reports
from tests.stand_ins import BUCKET, Model


@pytest.fixture
def reports(model: Model) -> Reports:
    return Reports(BUCKET)


@pytest.fixture
def job() -> Job:
    return Job(company="Aldermoor", key=str(uuid.uuid4()))


@pytest.mark.parametrize(
    "text",
    [
        '{"company": "Aldermoor"}',
        '{"company": "", "key": "1"}',
        '{"company": 7, "key": "1"}',
        '{"company": "Aldermoor", "key": "1", "db": {"host": "x"}}',
        "[]",
        "nonsense",
    ],
)
def test_what_is_no_job_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate_json(text)


def test_a_job_survives_json(job: Job) -> None:
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_what_one_replica_keeps_another_one_finds(
    model: Model, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_replica(name: str) -> Reports:
        """Give the reports as a replica sees them, on a disk of its own."""
        disk = tmp_path / name
        disk.mkdir()
        monkeypatch.chdir(disk)
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        return Reports(BUCKET)

    kept = on_replica("one").keep(job, Report(company=job.company, text="first"))
    assert on_replica("two").find(job) == kept
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_report_that_nobody_kept_is_not_found(reports: Reports, job: Job) -> None:
    assert reports.find(job) is None


def test_of_several_replicas_that_keep_at_once_one_wins_and_all_give_its_report(
    reports: Reports, job: Job
) -> None:
    together = threading.Barrier(6)
    given: list[str] = []

    def keep(number: int) -> None:
        mine = Reports(BUCKET)
        together.wait()
        given.append(mine.keep(job, Report(company=job.company, text=f"by {number}")).text)

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 6
    found = reports.find(job)
    assert found is not None
    assert found.text in given


def test_a_second_write_does_not_replace_the_first(reports: Reports, job: Job) -> None:
    reports.keep(job, Report(company=job.company, text="first"))
    assert reports.keep(job, Report(company=job.company, text="second")).text == "first"


def test_a_key_that_was_used_for_somebody_else_is_refused(reports: Reports, job: Job) -> None:
    reports.keep(job, Report(company=job.company, text="first"))
    other = Job(company="Eastvale", key=job.key)
    with pytest.raises(KeyTaken):
        reports.find(other)
    with pytest.raises(KeyTaken):
        reports.keep(other, Report(company="Eastvale", text="second"))


def test_a_missing_bucket_shows_at_start_up(model: Model) -> None:
    with pytest.raises(Exception, match="404"):
        Reports("no-such-bucket", boto3.client("s3")).check()
