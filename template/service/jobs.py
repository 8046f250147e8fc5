"""What goes in and what comes out: plain data, checked at the door."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Job(BaseModel):
    """One report that a customer asks for.

    Attributes:
        company: whom it is about.
        key: the customer's idempotency key: the same key is the same job, however often it comes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    company: Name
    key: Name

    @property
    def name(self) -> str:
        """A name for the job's report that any storage takes."""
        return hashlib.sha256(self.key.encode()).hexdigest()


class Report(BaseModel):
    """A finished report.

    Attributes:
        company: whom it is about.
        text: the report.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    company: str
    text: str
