"""An app that does nothing, to see what an idle replica of the capstone's service takes."""

from __future__ import annotations

import boto3

client = boto3.client("s3")


def run(inputs: dict[str, str]) -> str:
    """Name the customer."""
    return inputs["company"]
