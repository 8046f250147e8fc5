"""What the service needs from its environment, checked before any CrewAI object exists.

Nothing here imports crewai: with CREWAI_STORAGE_DIR wrong, that import itself would fail.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Count = Annotated[int, Field(ge=1, le=1000)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class NotConfigured(SystemExit):
    """The environment lacks something: one message names all of it, and no value."""


class Settings(BaseSettings):
    """The service's settings; each is an environment variable of the same name, in capitals.

    Attributes:
        openai_api_key: the model's key; its value is never shown.
        openai_base_url: where the model is, if it is not OpenAI's own.
        crewai_storage_dir: where CrewAI may write; absolute, writable, not shared by replicas.
        service_bucket: the bucket that keeps the reports.
        service_host: where to listen; 0.0.0.0 in a container.
        service_port: the port; 0 lets the system choose.
        service_workers: processes.
        service_model: the model's name.
        service_kickoffs: kickoffs at once in one process: the provider's quota divided by the
            number of processes, at most.
        service_waiting: requests that may wait for one of them; one more is refused.
        service_job_seconds: how long a customer waits for a report.
        service_model_seconds: how long one call of the model may take.
        service_model_retries: further attempts at a call that failed, in the client alone.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    openai_api_key: SecretStr
    openai_base_url: Text | None = None
    crewai_storage_dir: Path
    service_bucket: Text
    service_host: Text = "127.0.0.1"
    service_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    service_workers: Count = 2
    service_model: Text = "gpt-4o-mini"
    service_kickoffs: Count = 4
    service_waiting: Count = 8
    service_job_seconds: Seconds = 60.0
    service_model_seconds: Seconds = 20.0
    service_model_retries: Annotated[int, Field(ge=0, le=10)] = 2

    @property
    def secrets(self) -> list[str]:
        """What no log line may show."""
        return [self.openai_api_key.get_secret_value(), os.environ.get("AWS_SECRET_ACCESS_KEY", "")]

    @field_validator("openai_api_key")
    @classmethod
    def _is_not_blank(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value().strip():
            raise ValueError("it is empty")
        return key

    @field_validator("crewai_storage_dir")
    @classmethod
    def _is_writable(cls, folder: Path) -> Path:
        if not folder.is_absolute():
            raise ValueError("it must be an absolute path")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as problem:
            raise ValueError(f"it cannot be written to ({problem.strerror})") from None
        return folder


def load() -> Settings:
    """Read the environment.

    Returns:
        The settings.

    Raises:
        NotConfigured: something is missing, empty or wrong; names all of it at once.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # the values come from the environment
    except ValidationError as problem:
        lines = [
            f"  {str(error['loc'][0]).upper()}: {_said(error['type'], error['msg'])}"
            for error in problem.errors(include_input=False)
        ]
    raise NotConfigured("\n".join(["The service cannot start. Set these variables:", *lines]))


def _said(kind: str, message: str) -> str:
    said = {"missing": "it is missing", "string_too_short": "it is empty"}
    return said.get(kind, message.removeprefix("Value error, "))


def keep_crewai_at_home(settings: Settings) -> None:
    """Say to CrewAI, before its import, where to write and to call nobody."""
    os.environ["CREWAI_STORAGE_DIR"] = str(settings.crewai_storage_dir)
    for switch in ("CREWAI_DISABLE_TELEMETRY", "OTEL_SDK_DISABLED"):
        os.environ.setdefault(switch, "true")
    os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")
