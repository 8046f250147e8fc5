"""Each line is JSON, and no secret is in it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from service.logs import HIDDEN, set_up

SECRET = 'sk-"not"-for-anybody'  # noqa: S105 - with quotes, which JSON writes differently


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # it is put back after the test
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
    assert "for-anybody" not in written.getvalue()
    assert written.getvalue().count(HIDDEN) >= 3


def test_what_somebody_prints_is_a_line_of_json_without_secrets(written: io.StringIO) -> None:
    set_up([SECRET], written)  # once more: pytest has taken standard output back meanwhile
    print(f"the key is {SECRET}", end="")
    print()
    [line] = [json.loads(line) for line in written.getvalue().splitlines()]
    assert (line["name"], line["message"]) == ("printed", f"the key is {HIDDEN}")
