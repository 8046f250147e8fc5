"""Chapter 03: each disk forgets or mixes up for real, each repair holds, the check judges."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crewlab import COMPANIES, ContractBroken, Run, scale
from crewlab.exercises.check import evaluate
from crewlab.services import Services
from tests.chapter_apps import ChapterApps
from tests.whole import sizes

CHAPTER = "03"
ORDERS = {company: f"U{number}" for number, company in enumerate(COMPANIES[:8], 101)}
DAYS: dict[str, Any] = {
    "requests": [{"company": company, "order": order} for company, order in ORDERS.items()],
    "then": [{"company": company} for company in reversed(ORDERS)],
    "judge": lambda inputs, answer: ORDERS[inputs["company"]] in answer,
}
ONE = {"replicas": 1, "threads": 1}
ALDERMOOR = [{"company": "Aldermoor"}]


def each_number_once() -> Callable[[Any, str], bool]:
    given: list[str] = []

    def judge(_: Any, answer: str) -> bool:
        number = answer.partition(":")[0]
        given.append(number)
        return given.count(number) == 1

    return judge


def anything(_: Any, __: str) -> bool:
    return True


@pytest.fixture
def bucket(services: Services) -> dict[str, str]:
    """The environment that names a bucket no other test has used."""
    return {"BUCKET": services.storage.new_bucket()}


# --- the order desk -------------------------------------------------------------------------------


def test_one_replica_finds_every_order(apps: ChapterApps) -> None:
    scale(apps.app("broken"), replicas=1, **DAYS).expect(ok="all")


@pytest.mark.parametrize("replicas", sizes(2, 4, 8))
def test_several_replicas_take_every_order_and_report_none_without_an_error(
    apps: ChapterApps, replicas: int
) -> None:
    run = scale(apps.app("broken"), replicas=replicas, **DAYS)
    run.expect(ok=8, wrong=8, errors="none", lost="none", timeout="none")
    assert all(record.kind == "ok" for record in run.requests[:8])
    for taken, asked in zip(run.requests[:8], reversed(run.requests[8:]), strict=True):
        assert taken.inputs["company"] == asked.inputs["company"]
        assert taken.replica != asked.replica


def test_four_replicas_meet_the_customers_that_the_chapters_table_lists(apps: ChapterApps) -> None:
    run = scale(apps.app("broken"), replicas=4, **DAYS)
    seen = [
        [r.inputs["company"] for r in wave if r.replica == f"broken-{number}"]
        for number in range(4)
        for wave in (run.requests[:8], run.requests[8:])
    ]
    assert seen[:2] == [["Aldermoor", "Eastvale"], ["Hartwell", "Dunmarrow"]]
    assert seen[6:] == [["Dunmarrow", "Hartwell"], ["Eastvale", "Aldermoor"]]


def test_crewai_hides_what_the_tool_raises_but_counts_it(apps: ChapterApps) -> None:
    kickoff = 'crew.kickoff(inputs={"company": company}).raw'
    counted = f'{kickoff} + f" (tool errors: {{answer.tools_errors}})"'
    app = apps.changed("broken", "broken", (kickoff, counted))
    run = scale(app, requests=ALDERMOOR, **ONE)
    run.expect(ok="all")
    assert (run.requests[0].answer or "").endswith("(tool errors: 1)")
    assert "No such file" not in run.replicas[0].log


@pytest.mark.parametrize("place", ["Path(tempfile.gettempdir())", "Path.home()"])
def test_temp_and_home_are_the_same_disk(apps: ChapterApps, place: str) -> None:
    app = apps.changed(
        "broken",
        "broken",
        ('Path("orders")', f'{place} / "orders"'),
        ("from pathlib import Path", "import tempfile\nfrom pathlib import Path"),
    )
    scale(app, replicas=4, **DAYS).expect(ok=8, wrong=8, errors="none")


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_object_storage_is_reached_from_every_replica(
    apps: ChapterApps, bucket: dict[str, str], replicas: int
) -> None:
    scale(apps.app("fixed"), replicas=replicas, env=bucket, **DAYS).expect(ok="all")


def test_the_contract_complains_when_the_fixed_app_takes_the_broken_ones_place(
    apps: ChapterApps, bucket: dict[str, str]
) -> None:
    app = apps.save("broken", apps.source("fixed"))
    run = scale(app, replicas=4, env=bucket, **DAYS)
    with pytest.raises(ContractBroken, match="Seen instead: 16 ok"):
        run.expect(ok=8, wrong=8, errors="none")


# --- the number of the report ---------------------------------------------------------------------


def test_numbers_in_storage_are_right_as_long_as_reports_come_in_turn(
    apps: ChapterApps, bucket: dict[str, str]
) -> None:
    run = scale(apps.app("moved"), requests=3, env=bucket, judge=each_number_once(), **ONE)
    run.expect(ok="all")


@pytest.mark.parametrize("replicas", sizes(2, 4, 8))
def test_replicas_that_read_and_then_write_give_a_number_twice(
    apps: ChapterApps, bucket: dict[str, str], replicas: int
) -> None:
    run = scale(
        apps.app("moved"),
        replicas=replicas,
        threads=1,
        requests=8,
        env=bucket,
        judge=each_number_once(),
    )
    run.expect(wrong="some", errors="none", lost="none")


@pytest.mark.parametrize("replicas", sizes(1, 2, 4, 8))
def test_conditional_writes_give_each_number_once_and_leave_none_out(
    apps: ChapterApps, bucket: dict[str, str], replicas: int
) -> None:
    run = scale(
        apps.app("numbered"),
        replicas=replicas,
        threads=2,
        requests=16,
        env=bucket,
        judge=each_number_once(),
    )
    run.expect(ok="all")
    numbers = {(record.answer or "").partition(":")[0] for record in run.requests}
    assert numbers == {f"No. {number}" for number in range(1, 17)}


# --- CrewAI's own files ---------------------------------------------------------------------------


def test_threads_of_one_replica_read_each_others_output_file(apps: ChapterApps) -> None:
    run = scale(apps.app("mailed"), replicas=1, threads=8, requests=16)
    run.expect(wrong="some", errors="none", lost="none")


@pytest.mark.parametrize("replicas", sizes(1, 4))
def test_the_output_file_is_right_where_a_disk_has_one_request_at_a_time(
    apps: ChapterApps, replicas: int
) -> None:
    scale(apps.app("mailed"), replicas=replicas, threads=1, requests=4).expect(ok="all")


def test_the_same_text_is_in_the_result(apps: ChapterApps) -> None:
    source = apps.source("mailed")
    source = source.replace(".kickoff(inputs=inputs).raw", ".kickoff(inputs=inputs)")
    source = source.replace("Path('report.md').read_text()", "text.tasks_output[0].raw")
    scale(apps.save("mailed", source), replicas=1, threads=8, requests=16).expect(ok="all")


def kick_off(apps: ChapterApps, app: str, company: str, env: dict[str, str]) -> None:
    scale(apps.app(app), requests=[{"company": company}], env=env, **ONE).expect(ok="all")


def replay_for_aldermoor(apps: ChapterApps, env: dict[str, str]) -> Run:
    again = [{"company": "Aldermoor", "again": "yes"}]
    return scale(apps.app("again"), requests=again, env=env, **ONE)


def test_a_kickoff_of_another_service_in_a_folder_of_the_same_name_wipes_the_store(
    apps: ChapterApps, bucket: dict[str, str], tmp_path: Path
) -> None:
    env = bucket | {"HOME": str(tmp_path)}
    kick_off(apps, "again", "Aldermoor", env)
    kick_off(apps, "mailed", "Eastvale", env)
    run = replay_for_aldermoor(apps, env)
    run.expect(error="not found in the crew's tasks", errors="all")
    assert "crewai/crew.py" in (run.first_traceback or "")
    if sys.platform == "linux":
        assert (tmp_path / ".local/share" / "work" / "latest_kickoff_task_outputs.db").is_file()


def test_with_a_storage_folder_each_the_replay_works(
    apps: ChapterApps, bucket: dict[str, str], tmp_path: Path
) -> None:
    ours = bucket | {"HOME": str(tmp_path), "CREWAI_STORAGE_DIR": str(tmp_path / "again")}
    theirs = ours | {"CREWAI_STORAGE_DIR": str(tmp_path / "mailed")}
    kick_off(apps, "again", "Aldermoor", ours)
    kick_off(apps, "mailed", "Eastvale", theirs)
    replay_for_aldermoor(apps, ours).expect(ok="all")


def test_the_replay_works_if_nobody_kicked_off_in_between(
    apps: ChapterApps, bucket: dict[str, str], tmp_path: Path
) -> None:
    env = bucket | {"CREWAI_STORAGE_DIR": str(tmp_path)}
    kick_off(apps, "again", "Aldermoor", env)
    replay_for_aldermoor(apps, env).expect(ok="all")


@pytest.mark.whole
@pytest.mark.skipif(sys.platform != "linux", reason="the folder has another name elsewhere")
def test_a_relative_storage_folder_is_a_name_below_the_home_folder_and_a_folder_here(
    apps: ChapterApps,
) -> None:
    app = apps.save(
        "places",
        "import os\n"
        "from pathlib import Path\n"
        "from crewai.memory.storage.lancedb_storage import LanceDBStorage\n"
        "from crewai.utilities.paths import db_storage_path\n"
        "def run(inputs):\n"
        "    LanceDBStorage()\n"
        "    store = Path(db_storage_path()).relative_to(Path.home())\n"
        "    return f'{store} {os.listdir()}'\n",
    )
    run = scale(app, requests=ALDERMOOR, env={"CREWAI_STORAGE_DIR": "kept"}, judge=anything, **ONE)
    assert run.requests[0].answer == ".local/share/kept ['kept']", run.first_error


@pytest.mark.whole
def test_a_read_only_root_needs_a_home_as_well_as_a_storage_folder(
    apps: ChapterApps, bucket: dict[str, str]
) -> None:
    home = "LOCALAPPDATA" if os.name == "nt" else "HOME"
    storage = bucket | {"CREWAI_STORAGE_DIR": "$(TMPDIR)/crewai"}
    run = scale(
        apps.app("fixed"),
        replicas=3,
        threads=1,
        requests=DAYS["requests"][:1],
        then=DAYS["then"][-1:],
        judge=DAYS["judge"],
        start_method="spawn",
        startup_timeout=200,
        read_only=True,
        env=[bucket, storage, storage | {home: "$(TMPDIR)"}],
    )
    run.expect(ok="all", status="Error", error="[Errno 30] Read-only file system")
    bare, with_storage, with_both = run.replicas
    assert "crewai/rag/chromadb/constants.py" in (bare.traceback or "")
    assert "crewai_core/token_manager.py" in (with_storage.traceback or "")
    assert with_both.status == "Running"


def test_the_search_tool_saves_into_the_working_directory(apps: ChapterApps) -> None:
    app = apps.save(
        "searches",
        "import os\n"
        "from crewai_tools import SerperDevTool\n"
        "def run(inputs):\n"
        "    tool = SerperDevTool(base_url=os.environ['SERPER_BASE_URL'], save_file=True)\n"
        "    tool.run(search_query=inputs['company'])\n"
        "    return ' '.join(os.listdir())\n",
    )
    run = scale(app, requests=ALDERMOOR, judge=anything, **ONE)
    assert (run.requests[0].answer or "").startswith("search_results_"), run.first_error


# --- the exercise ---------------------------------------------------------------------------------


def test_the_exercise_works_on_one_replica(apps: ChapterApps) -> None:
    app = apps.app("approval_app", "exercise")
    first = [{"company": company, "step": "draft"} for company in COMPANIES[:3]]
    then = [{"company": company, "step": "send"} for company in COMPANIES[:3]]
    scale(
        app,
        replicas=1,
        requests=first,
        then=then,
        judge=lambda inputs, answer: inputs["company"] in answer,
    ).expect(ok="all")


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("03", apps.app("approval_app", "exercise"))
    assert not result.solved
    assert "it is on another replica's disk" in result.message
    assert "into the bucket" in (result.hint or "")


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    result = evaluate("03", apps.app("approval_app", "solution"))
    assert result.solved, result


@pytest.mark.whole
def test_a_draft_may_be_cleared_away_when_it_is_sent(apps: ChapterApps) -> None:
    app = apps.changed(
        "approval_app",
        "solution",
        (
            "    return f\"Sent: {stored['Body'].read().decode()}\"",
            "    text = stored['Body'].read().decode()\n"
            '    s3.delete_object(Bucket=BUCKET, Key=f"drafts/{company}.md")\n'
            '    return f"Sent: {text}"',
        ),
    )
    result = evaluate("03", app)
    assert result.solved, result


STORED = "stored['Body'].read().decode()"
WRONG_ANSWERS: dict[str, tuple[str, tuple[tuple[str, str], ...], str]] = {
    "an absolute path that all replicas of this machine share": (
        "exercise",
        (("Path(tempfile.gettempdir())", "Path({shared!r})"),),
        "In a cluster it is not",
    ),
    "the process's memory": (
        "exercise",
        (
            ("    return crew.kickoff", "    KEPT[company] = crew.kickoff"),
            ('"company": company}).raw', '"company": company}).raw\n    return KEPT[company]'),
            ('(DRAFTS / f"{company}.md").read_text()', "KEPT[company]"),
            ("DRAFTS = Path", "KEPT = {}\nDRAFTS = Path"),
        ),
        "A variable lives in one process",
    ),
    "one key for all customers": (
        "solution",
        (("drafts/{company}.md", "draft.md"),),
        "Is the customer's name part of the key?",
    ),
    "the crew run again instead of the draft kept": (
        "solution",
        ((STORED, "draft(company)"),),
        "A real model would write another text",
    ),
    "no crew": (
        "solution",
        (
            (
                'crew.kickoff(inputs={"company": company}).raw',
                'f"Dear {company}, all is well."',
            ),
        ),
        "each draft needs a kickoff of its own",
    ),
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS)
def test_a_plausible_wrong_answer_is_not_solved_and_gets_a_hint(
    apps: ChapterApps, tmp_path: Path, answer: str
) -> None:
    tag, replacements, advice = WRONG_ANSWERS[answer]
    shared = tmp_path / "shared"
    shared.mkdir()
    filled = [(old, new.replace("{shared!r}", repr(str(shared)))) for old, new in replacements]
    result = evaluate("03", apps.changed("approval_app", tag, *filled))
    assert not result.solved
    assert advice in (result.hint or ""), result


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            "import os\nBUCKET = os.environ['BUCKETS']\n",
            "the app does not start: KeyError: 'BUCKETS'.",
        ),
        (
            "def run(inputs):\n"
            "    if inputs['step'] == 'send': raise ValueError('no bucket')\n"
            "    return inputs['company']",
            "drafts are written, but not sent: ValueError: no bucket.",
        ),
        (
            "import os\n"
            "def run(inputs):\n"
            "    if (inputs['step'], inputs['company']) == ('send', 'Hartwell'): os._exit(3)\n"
            "    return inputs['company']",
            "not every customer is answered: replica approval_app-",
        ),
    ],
)
def test_an_answer_that_fails_on_the_way_is_told_what_was_seen(
    apps: ChapterApps, source: str, says: str
) -> None:
    result = evaluate("03", apps.save("approval_app", source))
    assert not result.solved
    assert says in result.message
