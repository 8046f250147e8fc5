"""The environment is checked at start-up, whole, and no value is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import NotConfigured, load
from tests.stand_ins import KEY

NEEDED = ("OPENAI_API_KEY", "CREWAI_STORAGE_DIR", "SERVICE_BUCKET")


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_whole_environment_is_accepted(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    set_all(monkeypatch, variables)
    settings = load()
    assert settings.service_kickoffs == 4
    assert KEY not in repr(settings)


def test_everything_that_is_missing_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    set_all(monkeypatch, variables)
    for name in NEEDED:
        monkeypatch.delenv(name)
    with pytest.raises(NotConfigured) as refused:
        load()
    for name in NEEDED:
        assert f"{name}: it is missing" in str(refused.value)


@pytest.mark.parametrize("value", ["", "   "])
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "SERVICE_BUCKET"])
def test_empty_counts_as_missing(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str, value: str
) -> None:
    set_all(monkeypatch, variables | {name: value})
    with pytest.raises(NotConfigured, match=name):
        load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVICE_KICKOFFS", "0"),
        ("SERVICE_KICKOFFS", "many"),
        ("SERVICE_JOB_SECONDS", "-1"),
        ("SERVICE_MODEL_RETRIES", "1000"),
        ("CREWAI_STORAGE_DIR", "relative/folder"),
        ("CREWAI_STORAGE_DIR", "/proc/nothing/here"),
    ],
)
def test_a_wrong_value_is_named_and_no_secret_shown(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str, value: str
) -> None:
    set_all(monkeypatch, variables | {name: value})
    with pytest.raises(NotConfigured) as refused:
        load()
    assert name in str(refused.value)
    assert KEY not in str(refused.value)


def test_the_server_ends_at_once_without_its_settings_and_says_it_once(
    variables: dict[str, str],
) -> None:
    del variables["OPENAI_API_KEY"]
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env=variables,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("OPENAI_API_KEY: it is missing") == 1


def test_the_service_ends_at_once_without_its_settings_and_before_crewai_is_imported(
    variables: dict[str, str],
) -> None:
    del variables["OPENAI_API_KEY"]
    code = "import sys\ntry:\n    import service.app\nfinally:\n    print('crewai' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.split() == ["False"]
    assert "OPENAI_API_KEY: it is missing" in done.stderr
    assert "Traceback" not in done.stderr
