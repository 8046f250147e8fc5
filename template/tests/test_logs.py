"""Each line is JSON, and no secret is in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from service.logs import HIDDEN, set_up

SECRET = "sk-not-for-anybody"  # noqa: S105


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    set_up([SECRET, ""], stream)
    yield stream
    root.handlers[:], root.level = before


def test_a_line_is_json_with_its_fields(written: io.StringIO) -> None:
    logging.getLogger("service").info("done", extra={"company": "Aldermoor"})
    line = json.loads(written.getvalue())
    assert (line["message"], line["level"], line["company"]) == ("done", "INFO", "Aldermoor")


def test_a_secret_is_hidden_in_message_field_and_traceback(written: io.StringIO) -> None:
    log = logging.getLogger("service")
    log.info("key %s", SECRET)
    log.info("field", extra={"key": SECRET})
    try:
        raise ValueError(f"Incorrect API key provided: {SECRET}")
    except ValueError:
        log.exception("failed")
    lines = written.getvalue().splitlines()
    assert len([json.loads(line) for line in lines]) == 3
    assert SECRET not in written.getvalue()
    assert written.getvalue().count(HIDDEN) >= 3
