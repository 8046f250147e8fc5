"""Chapter 02: what lacks its variables turns green and fails, the repair refuses, checks judge."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crewlab import ContractBroken, Run, compare, scale
from crewlab.chapters import ch02
from crewlab.exercises.check import evaluate
from crewlab.offline import OFFLINE
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import sizes

CHAPTER = "02"
NO_KEYS = {"OPENAI_API_KEY": None, "SERPER_API_KEY": None}
QUIET = "local-Vt6kPz3wRq8m"


def all_but_the_last(number: int) -> list[dict[str, str | None]]:
    return [{}] * (number - 1) + [dict(NO_KEYS)]


def said(run: Run) -> str:
    """Everything that can be read of a run."""
    return str(run.to_dict()) + str(run) + run._repr_html_()


# --- what the broken app does -------------------------------------------------------------------


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_without_keys_every_replica_is_ready_and_every_request_fails(
    apps: ChapterApps, services: Services, replicas: int
) -> None:
    load = {"threads": 1, "requests": replicas}
    run = scale(apps.app("broken"), replicas=replicas, env=NO_KEYS, **load)
    run.expect(error="OPENAI_API_KEY is required", errors="all")
    assert set(run.errors) == {"ValueError: OPENAI_API_KEY is required"}
    assert [(r.status, r.ready, r.restarts) for r in run.replicas] == [("Running", True, 0)] * (
        replicas
    )
    assert services.model.stats().total == 0


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_with_keys_any_number_of_replicas_answers(apps: ChapterApps, replicas: int) -> None:
    scale(apps.app("broken"), replicas=replicas, threads=2, requests=8).expect(ok="all")


def test_the_error_comes_from_the_kickoff_not_from_the_start(apps: ChapterApps) -> None:
    run = scale(apps.app("broken"), replicas=1, threads=1, requests=1, env=NO_KEYS)
    lines = (run.first_traceback or "").splitlines()
    assert "in run" in lines[1]
    assert any("completion.py" in line and "_get_client_params" in line for line in lines)


def test_one_replica_in_four_without_keys_hits_more_than_one_customer_in_four(
    apps: ChapterApps, services: Services
) -> None:
    services.model.configure(latency=1)  # a good answer takes two calls, so at least 2 s
    run = scale(apps.app("broken"), replicas=4, threads=2, requests=12, env=all_but_the_last(4))
    run.expect(ok="some", errors="some", lost="none")
    assert run.error > 12 / 4
    assert {r.replica for r in run.requests if r.kind == "error"} == {"broken-3"}


def test_a_dot_env_file_hides_what_the_environment_lacks(apps: ChapterApps) -> None:
    text = "OPENAI_API_KEY=local-laptop\nSERPER_API_KEY=local-laptop\n"
    for name in ("broken", "fixed"):
        app = apps.app(name)
        laptop = {"replicas": 1, "threads": 1, "requests": 1, "env": NO_KEYS}
        scale(app, **laptop, files={".env": text}).expect(ok="all")  # type: ignore[arg-type]


# The whole import in a process of its own is what this test costs. A part of it is a grammar that
# jsonschema builds and nobody here uses; replicas do without it too (crewlab.deployment.container).
READS_DOT_ENV = """\
import os
import sys

sys.modules["rfc3987_syntax"] = None
import crewai.llm

print(os.environ.get("OPENAI_API_KEY"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="links the environment into a project")
def test_crewai_reads_dot_env_by_itself_if_the_environment_lies_in_the_project(
    tmp_path: Path,
) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-the-file\n", encoding="utf-8")
    main = tmp_path / "main.py"
    main.write_text(READS_DOT_ENV, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name not in NO_KEYS}
    python = tmp_path / ".venv" / "bin" / Path(sys.executable).name
    done = subprocess.run(
        [python, main],
        env=env
        | OFFLINE
        | {"HOME": str(tmp_path), "CREWAI_STORAGE_DIR": str(tmp_path / "storage")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "from-the-file"


# --- the disguises ------------------------------------------------------------------------------


def test_an_empty_key_is_called_an_import_error(apps: ChapterApps) -> None:
    run = scale(apps.app("broken"), replicas=1, requests=1, env={"OPENAI_API_KEY": ""})
    run.expect(error="ImportError: Error importing native provider", lost="all")
    assert "Missing credentials" in (run.first_error or "")
    assert "crewai/llm.py" in (run.first_traceback or "")


@pytest.mark.whole
def test_a_key_with_a_newline_or_of_spaces_is_called_a_connection_error(
    apps: ChapterApps, services: Services
) -> None:
    env = [{"OPENAI_API_KEY": key} for key in (f"{QUIET}\n", "  ")]
    run = scale(apps.app("broken"), replicas=2, threads=1, requests=2, env=env)
    run.expect(errors="all", status="Running")
    assert all("Connection error" in error for error in run.errors)
    assert {record.replica for record in run.requests} == {"broken-0", "broken-1"}
    assert services.model.stats().total == 0


def test_without_a_search_key_a_report_is_written_without_a_search(
    apps: ChapterApps, services: Services
) -> None:
    env = {"SERPER_API_KEY": None}
    scale(apps.app("broken"), replicas=1, requests=2, env=env).expect(ok="all")
    assert services.search.stats().total == 0
    assert "search_the_internet_with_serper" in {call.tool for call in services.model.journal()}


def test_the_digest_fails_far_from_the_variable_it_lacks(apps: ChapterApps) -> None:
    app = apps.app("digest")
    whole = {"REPORT_MARKETS": "EU,UK"}
    scale(app, replicas=1, requests=2, env=whole).expect(ok="all")
    no_search = scale(app, replicas=1, requests=1, env={**whole, "SERPER_API_KEY": None})
    no_search.expect(error="KeyError: 'SERPER_API_KEY'", errors="all", status="Running")
    no_markets = scale(app, replicas=1, requests=1, env={"REPORT_MARKETS": None})
    no_markets.expect(error="AttributeError: 'NoneType' object has no attribute 'split'")
    assert "in audience" in (no_markets.first_traceback or "")
    assert "getenv" not in (no_markets.first_traceback or "")


def test_the_half_repair_shows_the_other_key_and_takes_an_empty_one(apps: ChapterApps) -> None:
    app = apps.app("half")
    leaking = {"OPENAI_API_KEY": None, "SERPER_API_KEY": QUIET}
    run = scale(app, replicas=1, requests=1, env=leaking)
    run.expect(error="openai_api_key", lost="all")
    assert QUIET in (run.first_error or "")
    empty = scale(app, replicas=1, requests=1, env={"OPENAI_API_KEY": ""})
    empty.expect(error="Error importing native provider", errors="all", status="Running")


# --- the repair ---------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_the_repaired_app_answers_with_all_variables(apps: ChapterApps, replicas: int) -> None:
    scale(apps.app("fixed"), replicas=replicas, threads=2, requests=8).expect(ok="all")


def test_the_repaired_app_refuses_to_start_and_names_all_that_is_wrong(apps: ChapterApps) -> None:
    names = ("OPENAI_API_KEY", "SERPER_API_KEY", "SERPER_BASE_URL")
    values = (None, "", "   ", "\n", f"{QUIET}\n", f" {QUIET}")
    env = [dict.fromkeys(names, value) for value in values]
    run = scale(apps.app("fixed"), replicas=len(values), requests=1, env=env)
    run.expect(lost="all", status="Error")
    for replica in run.replicas:
        error = replica.error or ""
        assert error.startswith("ValidationError: 3 validation errors for Settings")
        assert all(name in error for name in names)
        assert "build_crew" not in (replica.traceback or "")
    assert QUIET not in said(run)


def test_the_repaired_app_shows_no_key_wherever_it_fails_or_works(apps: ChapterApps) -> None:
    secrets = {"OPENAI_API_KEY": QUIET, "SERPER_API_KEY": QUIET}
    run = scale(
        apps.changed("fixed", "fixed", ("def run", "print(settings)\n\n\ndef run")),
        replicas=4,
        threads=1,
        requests=1,
        env=[
            secrets,
            {**secrets, "OPENAI_API_KEY": None},
            {**secrets, "SERPER_API_KEY": ""},
            {**secrets, "SERPER_BASE_URL": " "},
        ],
    )
    run.expect(ok="all", error="1 validation error for Settings")
    assert [replica.ready for replica in run.replicas] == [True, False, False, False]
    assert "**********" in run.replicas[0].log
    assert QUIET not in said(run)


def test_the_replica_without_keys_ends_in_a_crash_loop_and_takes_no_request(
    apps: ChapterApps,
) -> None:
    run = scale(
        apps.app("fixed"),
        replicas=4,
        threads=2,
        requests=12,
        env=all_but_the_last(4),
        restarts=2,
    )
    run.expect(ok="all", status="CrashLoopBackOff", error="2 validation errors for Settings")
    *old, new = run.replicas
    assert [replica.status for replica in old] == ["Running"] * 3
    assert (new.ready_after, new.exit_code) == (None, 1)
    assert "fixed-3" not in {record.replica for record in run.requests}


@pytest.mark.whole
def test_rollouts_of_two_four_and_eight_fail_broken_and_hold_repaired(apps: ChapterApps) -> None:
    both = {"broken": apps.app("broken"), "fixed": apps.app("fixed")}
    compare(both, replicas=[2, 4, 8], env=all_but_the_last).expect()


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps,
) -> None:
    app = apps.save("broken", apps.source("fixed"))
    run = scale(app, replicas=4, threads=2, requests=8, env=all_but_the_last(4))
    with pytest.raises(ContractBroken, match="Seen instead: 8 ok"):
        run.expect(error="OPENAI_API_KEY is required", errors="some")


# --- the exercise -------------------------------------------------------------------------------


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("02", apps.app("briefing_app", "exercise"))
    assert not result.solved
    assert "becomes ready although OPENAI_API_KEY, SERPER_API_KEY and" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("02", apps.app("briefing_app", "solution")).solved


def test_plain_python_that_does_the_same_solves_it_too(apps: ChapterApps) -> None:
    by_hand = (
        "import sys\n"
        f"missing = [name for name in {ch02.NAMES} if not os.environ.get(name, '').strip()]\n"
        "if missing:\n"
        "    print('not set:', *missing)\n"
        "    sys.exit(1)\n"
    )
    app = apps.changed("briefing_app", "exercise", ("MODEL_KEY = os", f"{by_hand}\nMODEL_KEY = os"))
    assert evaluate("02", app).solved


def guard(condition: str, message: str) -> tuple[tuple[str, str], ...]:
    text = (
        f"for name in {ch02.NAMES}:\n    if {condition}:\n        raise ValueError({message})\n\n"
    )
    return (("MODEL_KEY = os", f"{text}MODEL_KEY = os"),)


def solution_without(*texts: str) -> tuple[tuple[str, str], ...]:
    return tuple((text, "") for text in texts)


WRONG_EXERCISES = {
    "a check inside run": (
        (
            "    details = {",
            f"    missing = [n for n in {ch02.NAMES} if not os.getenv(n)]\n"
            "    if missing:\n"
            "        raise ValueError(missing)\n"
            "    details = {",
        ),
    ),
    "only the missing": guard("name not in os.environ", "name"),
    "not the blank": guard("not os.environ.get(name)", "name"),
    "one at a time": guard("not os.environ.get(name, '').strip()", "name"),
    "no name": guard("not os.environ.get(name, '').strip()", "'bad environment'"),
    "always the same": guard(
        "not os.environ.get(name, '').strip()", f"'We need all of {' '.join(ch02.NAMES)}.'"
    ),
    "never starts": guard("True", "name"),
    "prints the environment": (("MODEL_KEY = os", "print(dict(os.environ))\nMODEL_KEY = os"),),
    "no kickoff": (
        ("    return build_crew().kickoff(inputs=inputs | details).raw", "    return str(inputs)"),
    ),
    "no search": (('"headlines": headlines(inputs["company"])', '"headlines": ""'),),
}
WRONG_SOLUTIONS = {
    "a settings class that shows keys": solution_without(", hide_input_in_errors=True"),
    "a settings class that takes the empty": (
        ("env_ignore_empty=True, ", ""),
        ('pattern=r"^\\S+$"', ""),
    ),
    "a settings class that takes the blank": (('pattern=r"^\\S+$"', ""),),
}
SAYS = {
    "a check inside run": "when the module is imported",
    "only the missing": "Count that as missing",
    "not the blank": "Spaces are not a value",
    "one at a time": "all names at once",
    "no name": "all names at once",
    "always the same": "should not have to guess",
    "never starts": "refuse an incomplete environment only",
    "prints the environment": "Print no value",
    "no kickoff": "needs a kickoff of its own",
    "no search": "Keep `headlines()`",
    "a settings class that shows keys": "hide_input_in_errors=True",
    "a settings class that takes the empty": "Count that as missing",
    "a settings class that takes the blank": "Spaces are not a value",
}


@pytest.mark.parametrize("answer", SAYS)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, answer: str
) -> None:
    base, changes = (
        ("exercise", WRONG_EXERCISES[answer])
        if answer in WRONG_EXERCISES
        else ("solution", WRONG_SOLUTIONS[answer])
    )
    result = evaluate("02", apps.changed("briefing_app", base, *changes))
    assert not result.solved
    assert SAYS[answer] in (result.hint or ""), result


def test_a_verdict_shows_no_key_even_of_an_app_that_raises_with_one(apps: ChapterApps) -> None:
    app = apps.save(
        "briefing_app", "import os\ndef run(inputs): raise ValueError(os.environ['OPENAI_API_KEY'])"
    )
    result = evaluate("02", app)
    assert "a key can be read" in result.message
    assert "local-" not in str(result)
