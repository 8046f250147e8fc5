"""The local object storage, through boto3."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from crewlab.services import Services
from tests.services_tools import running_services


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running_services() as services:
        yield services


@pytest.fixture(scope="module")
def bucket(services: Services) -> Any:
    services.storage.client().create_bucket(Bucket="reports")
    return "reports"


def test_what_an_app_puts_another_client_gets(services: Services, bucket: str) -> None:
    app = boto3.client("s3")  # as an app makes it: from the environment alone
    app.put_object(Bucket=bucket, Key="Aldermoor/report.txt", Body=b"fine")
    found = services.storage.client().get_object(Bucket=bucket, Key="Aldermoor/report.txt")
    assert found["Body"].read() == b"fine"
    listed = app.list_objects_v2(Bucket=bucket, Prefix="Aldermoor/")["Contents"]
    assert [one["Key"] for one in listed] == ["Aldermoor/report.txt"]


def test_a_conditional_write_is_refused_if_the_key_exists(services: Services, bucket: str) -> None:
    client = services.storage.client()
    client.put_object(Bucket=bucket, Key="once", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as raised:
        client.put_object(Bucket=bucket, Key="once", Body=b"second", IfNoneMatch="*")
    assert raised.value.response["Error"]["Code"] == "PreconditionFailed"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert client.get_object(Bucket=bucket, Key="once")["Body"].read() == b"first"


@pytest.mark.parametrize("key", ["Host", "Origin"])
def test_a_web_page_of_somebody_else_is_refused(services: Services, key: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{services.ports['storage']}/moto-api/reset",
        method="POST",
        headers={key: "http://evil.example"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as raised:
        opener.open(request, timeout=20)
    assert raised.value.code == 403
    raised.value.close()
