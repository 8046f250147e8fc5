"""Finished reports, kept where every replica finds them: in object storage."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from service.jobs import Job, Report


class KeyTaken(Exception):
    """The idempotency key belongs to a job about somebody else."""


class Reports:
    """The reports in one bucket; safe to use from several threads and replicas at once."""

    def __init__(self, bucket: str, client: Any | None = None) -> None:
        """Open the bucket.

        Args:
            bucket: its name; it must exist.
            client: an S3 client; by default one that gives up after seconds, not minutes.
        """
        limits = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3})
        self._client = client or boto3.client("s3", config=limits)
        self._bucket = bucket

    def check(self) -> None:
        """Make sure that the bucket is there.

        Raises:
            ClientError: it is not, or this service may not use it.
        """
        self._client.head_bucket(Bucket=self._bucket)

    def find(self, job: Job) -> Report | None:
        """Look for the report of a job that was done before.

        Args:
            job: the job.

        Returns:
            Its report, or None.

        Raises:
            KeyTaken: the key was used for another company.
        """
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._place(job))
        except ClientError as problem:
            if problem.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        report = Report.model_validate_json(found["Body"].read())
        if report.company != job.company:
            raise KeyTaken
        return report

    def keep(self, job: Job, report: Report) -> Report:
        """Keep a report, unless another replica was first.

        Args:
            job: the job.
            report: what this replica wrote.

        Returns:
            The report that is kept: this one, or the one that was first.

        Raises:
            KeyTaken: the key was used for another company meanwhile.
        """
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._place(job),
                Body=report.model_dump_json().encode(),
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except ClientError as problem:
            if problem.response["Error"]["Code"] not in (
                "PreconditionFailed",
                "ConditionalRequestConflict",
            ):
                raise
            return self.find(job) or report
        return report

    def _place(self, job: Job) -> str:
        return f"reports/{job.name}.json"
