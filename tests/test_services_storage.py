"""The local object storage, through boto3."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from crewlab.services import Services
from crewlab.services.storage import conditions_hold


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


def test_of_conditional_writes_one_is_worked_on_at_a_time() -> None:
    meeting = threading.Barrier(2)
    outcomes: list[str] = []

    def moto(environ: dict[str, Any], _: object) -> list[bytes]:
        """Stand still in the middle until a second request is there."""
        try:
            meeting.wait(0.2 if environ["alone"] else 10)
            outcomes.append("met")
        except threading.BrokenBarrierError:
            outcomes.append("alone")
            meeting.reset()
        return []

    def send_two(alone: bool, **headers: str) -> None:
        environ = {"REQUEST_METHOD": "PUT", "alone": alone, **headers}
        threads = [threading.Thread(target=application, args=(environ, None)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    application = conditions_hold(moto)
    send_two(alone=False)
    send_two(alone=True, HTTP_IF_MATCH="abc")
    send_two(alone=True, HTTP_IF_NONE_MATCH="*")
    assert outcomes == ["met"] * 2 + ["alone"] * 4


def test_each_new_bucket_is_empty_and_where_an_app_looks(services: Services) -> None:
    first, second = services.storage.new_bucket(), services.storage.new_bucket()
    assert first != second
    assert "Contents" not in boto3.client("s3").list_objects_v2(Bucket=first)


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
