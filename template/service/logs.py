"""One line of JSON for each thing that happens, with no secret in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

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
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level"},
        )
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as a line."""
        line = super().format(record)
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line


def set_up(secrets: Iterable[str], stream: Any = None) -> None:
    """Let every logger of this process write JSON to standard output.

    Args:
        secrets: the values that no line may show.
        stream: where to instead, for tests.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(Redacting(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Clients tell each call of theirs at this level; one line for each job is enough.
    for name in ("httpx", "openai", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
