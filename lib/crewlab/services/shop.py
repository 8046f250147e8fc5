"""A shop whose payments can be counted: its apps charge customers by writing objects."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from crewlab.companies import default_requests
from crewlab.services.handle import Services, start

CHARGES = "charges/"
BETWEEN_LOOKS = 0.05  # s


class Shop:
    """A bucket of the object storage that plays the payment service.

    Each object written below ``charges/<order>`` is one payment of that order, whatever its key.
    The bucket keeps all versions, so one that is written over another counts as well.

    Attributes:
        bucket: its name, which an app finds in its environment as ``SHOP_BUCKET``.
        environment: just that, for ``scale(env=)``.
    """

    def __init__(self, services: Services | None = None) -> None:
        """Open a new shop, with no order and no payment in it.

        Args:
            services: the local services; those of this process by default.
        """
        import boto3

        self._services = services or start()
        self._client = boto3.session.Session().client("s3")
        self._numbers = itertools.count(1001)
        self.bucket = self._services.storage.new_bucket()
        self.environment = {"SHOP_BUCKET": self.bucket}
        self._client.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    def orders(self, count: int) -> list[dict[str, str]]:
        """Take new orders, with numbers that nobody had before.

        Args:
            count: how many.

        Returns:
            One ``{"order": number, "company": name}`` an order, ready to be requests.
        """
        return [
            {"order": str(next(self._numbers)), **customer} for customer in default_requests(count)
        ]

    def charges(self, orders: Sequence[Mapping[str, str]]) -> dict[str, int]:
        """Count the payments of some orders so far.

        Args:
            orders: inputs of requests; an order that was sent twice counts as one.

        Returns:
            The number of payments by the order's number, 0 included.
        """
        charged: Counter[str] = Counter()
        pages = self._client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.bucket, Prefix=CHARGES):
            for version in page.get("Versions", ()):
                charged[version["Key"].removeprefix(CHARGES).partition("/")[0]] += 1
        return {order: charged[order] for order in (inputs["order"] for inputs in orders)}

    def hold_jobs(self, count: int, seconds: float | None = None) -> Callable[[], bool]:
        """Have the model keep its next calls waiting, so that their jobs stay in the middle.

        A kill at a fixed moment meets a job on one machine and misses it on another.

        Args:
            count: how many calls, from now on; 0 lets everything be answered as usual.
            seconds: how long each call, and every later one, waits for its answer; None: the
                first ``count`` calls are never answered, and all others as usual.

        Returns:
            A condition: so many calls have arrived.
        """
        model = self._services.model
        model.reset()
        model.configure(hang=range(1, count + 1) if seconds is None else (), latency=seconds)
        arrived = False
        look_at = 0.0

        def have_arrived() -> bool:
            """Ask the model now and then: a condition of many kills is looked at all the time."""
            nonlocal arrived, look_at
            if not arrived and time.monotonic() >= look_at:
                arrived = model.stats().total >= count
                look_at = time.monotonic() + BETWEEN_LOOKS
            return arrived

        return have_arrived

    @contextmanager
    def jobs_held(self, count: int) -> Iterator[Callable[[], bool]]:
        """Hold jobs as `hold_jobs` does for a block; the model is as it was afterwards.

        Args:
            count: how many calls.
        """
        with self._services.counted_anew(), self._services.model.temporarily():
            yield self.hold_jobs(count)
