"""One line of JSON for each thing that happens, with no secret in it."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterable
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

HIDDEN = "[hidden]"


class Redacting(JsonFormatter):
    """Writes JSON, and hides secrets wherever they stand: message, field or traceback."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Know what to hide.

        Args:
            secrets: the values that no line may show.
        """
        super().__init__(
            "{asctime}{levelname}{process}{name}{message}",
            style="{",
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
            rename_fields={"asctime": "time", "levelname": "level"},
        )
        as_written = {json.dumps(secret)[1:-1] for secret in secrets if secret}
        self._secrets = sorted(as_written, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as a line."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line


class Printed(io.TextIOBase):
    """Takes the place of standard output: CrewAI prints there too, and a print hides nothing."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Log what somebody prints."""
        if text.strip():
            logging.getLogger("printed").info(text.rstrip())
        return len(text)


def set_up(secrets: Iterable[str], stream: Any = None) -> None:
    """Let every logger, and every print, of this process write JSON to standard output.

    Args:
        secrets: the values that no line may show.
        stream: where to instead, for tests.
    """
    handler = logging.StreamHandler(stream or sys.__stdout__)
    handler.setFormatter(Redacting(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    sys.stdout = Printed()
    # Clients tell each call of theirs at this level; one line for each job is enough.
    for name in ("httpx", "openai", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
