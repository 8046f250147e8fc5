"""What a chapter does with one service: configure it, read its counters, use its storage."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crewlab.services.environment import KEY, REGION
from crewlab.services.process import ServicesError
from crewlab.services.records import Call, Settings, Stats

TIMEOUT = 20.0  # s; a child that has just started is still importing for one of them


class EndpointControl:
    """Steers one endpoint and reads what it has counted."""

    def __init__(
        self, name: str, port: Callable[[], int], token: str, settings: Settings | None = None
    ) -> None:
        self._name = name
        self._port = port
        self._token = token
        self._initial = settings or Settings()
        self.settings = self._initial

    def configure(
        self,
        *,
        latency: float | None = None,
        max_in_flight: int | None = None,
        quota: int | None = None,
        quota_seconds: float = 60.0,
        retry_after: float = 1.0,
        errors: Mapping[int, int] | None = None,
        drop: Collection[int] = (),
        hang: Collection[int] = (),
    ) -> None:
        """Set how the endpoint behaves from now on; what is not named goes back to its default.

        Args:
            latency: seconds before an answer; default 0.1 for the model, 0.05 for the search.
            max_in_flight: requests worked on at once; one more gets a 429. None: no cap.
            quota: requests let in within any ``quota_seconds``; one more gets a 429. None: none.
            quota_seconds: how long a request counts against the quota.
            retry_after: seconds a 429 tells the client to wait.
            errors: HTTP status to answer with, by ordinal of the request since the last `reset`.
            drop: ordinals of requests whose connection is cut without an answer.
            hang: ordinals of requests that get no answer until the next `reset`.

        Raises:
            ValueError: a setting is out of its range.
            ServicesError: the local services do not run.
        """
        settings = Settings(
            latency=self._initial.latency if latency is None else latency,
            max_in_flight=max_in_flight,
            quota=quota,
            quota_seconds=quota_seconds,
            retry_after=retry_after,
            errors=dict(errors or {}),
            drop=frozenset(drop),
            hang=frozenset(hang),
        )
        self._ask("settings", settings.to_dict())
        self.settings = settings

    @contextmanager
    def temporarily(self, **settings: Any) -> Iterator[None]:
        """Configure it for as long as a block lasts, and as it was afterwards.

        Args:
            **settings: as for `configure`.

        Raises:
            ValueError: a setting is out of its range.
            ServicesError: the local services do not run.
        """
        before = vars(self.settings)
        self.configure(**settings)
        try:
            yield
        finally:
            self.configure(**before)

    def reset(self) -> None:
        """Count from one again, empty the journal, let go of what hangs; the settings stay.

        Raises:
            ServicesError: the local services do not run.
        """
        self._ask("reset", {})

    def stats(self) -> Stats:
        """Give the counters since the last reset."""
        data = self._ask("stats")
        by_status = {int(status): count for status, count in sorted(data.pop("by_status").items())}
        return Stats(by_status=by_status, **data)

    def journal(self) -> list[Call]:
        """Give the last 10,000 finished requests since the last reset, in order of arrival."""
        return [Call(**{**call, "names": tuple(call["names"])}) for call in self._ask("journal")]

    def _ask(self, command: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a command: a POST with a body, else a GET."""
        # Imported here: `import crewlab` stays cheap. Not httpx or requests: those ask for proxies.
        from http.client import HTTPConnection, HTTPException

        connection = HTTPConnection("127.0.0.1", self._port(), timeout=TIMEOUT)
        try:
            connection.request(
                "GET" if body is None else "POST",
                f"/_control/{self._name}/{command}",
                None if body is None else json.dumps(body),
                {"Authorization": f"Bearer {self._token}"},
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, HTTPException, ValueError) as error:
            raise ServicesError(
                f"The local services do not answer ({type(error).__name__}).\n"
                "If their process has died, services.ensure() starts them again on the same ports."
            ) from None
        finally:
            connection.close()
        if response.status != 200:
            raise ServicesError(f"The {self._name} endpoint refused {command}: {answer['error']}")
        return answer


class StorageControl:
    """The object storage."""

    def __init__(self, port: Callable[[], int]) -> None:
        self._port = port

    def client(self) -> Any:
        """Give a boto3 S3 client of the local storage, whatever the environment says."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port()}",
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
            region_name=REGION,
        )

    def new_bucket(self) -> str:
        """Make an empty bucket, so that a run does not find what an earlier one has stored.

        Returns:
            Its name. It is made where the environment leads an app: in the local storage, unless
            the learner has set up another one.
        """
        import boto3

        name = f"crewlab-{uuid.uuid4()}"
        boto3.session.Session().client("s3").create_bucket(Bucket=name)
        return name
