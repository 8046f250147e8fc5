"""Chapter 10: what the usual advice sees and misses, and a check that judges name and repair."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crewlab.exercises.check import evaluate
from crewlab.mysteries import NUMBERS, mystery
from crewlab.mysteries.cases import CASES
from crewlab.mysteries.causes import CAUSES
from crewlab.mysteries.mystery import SOURCES
from crewlab.results.growth import growth
from crewlab.results.stacks import Stacks
from tests.chapter_apps import ChapterApps
from tests.mystery_repairs import REPAIRS
from tests.whole import some

CHAPTER = "10"
FORKED = 2

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.usefixtures("mysteries")


# --- what the usual advice sees -------------------------------------------------------------


@pytest.mark.parametrize("number", some([n for n in NUMBERS if n != 10], 1, 6))
def test_one_replica_alone_sees_nothing(number: int) -> None:
    mystery(number).alone().expect(ok="all")


def test_twenty_in_a_row_miss_the_shared_agents() -> None:
    row = mystery(1).in_turn(20)
    row.expect(ok="all")
    growth(row).expect(threads="level")


@pytest.mark.whole
def test_shared_agents_meet_in_threads_and_not_in_replicas() -> None:
    case = mystery(1)
    case.together().expect(errors="some", lost="none", timeout="none")
    case.together(replicas=4, threads=1).expect(ok="all")
    case.own_globals(replicas=1, threads=8).expect(ok="all")


@pytest.mark.whole
def test_a_crowd_misses_the_leak_that_a_row_finds() -> None:
    case = mystery(3)
    case.together().expect(ok="all")
    growth(case.in_turn(20)).expect(memory="grows")


@pytest.mark.whole
@needs_fork
def test_the_silent_one_asks_no_model_and_answers_all_without_its_fork() -> None:
    case = mystery(FORKED)
    case.together().expect(timeout="all")
    assert case.partners().model.total == 1
    case.together(start_method="forkserver", cut_off=30.0).expect(ok="all")


@pytest.mark.whole
def test_a_silent_partner_shows_in_the_stacks_and_at_the_partner() -> None:
    case = mystery(4)
    stacks = case.stacks(patience=5.0)
    assert isinstance(stacks, Stacks)
    assert any(frame.function == "find_news" for frame in stacks.waiting)
    assert case.partners().search.total > case.partners().search.by_status.get(200, 0)


def test_one_replica_fails_all_its_customers_although_it_was_ready() -> None:
    case = mystery(6)
    run = case.together()
    assert case.replicas().failing == ("service_06-3",)
    assert run.replicas[-1].ready


# --- the exercise ---------------------------------------------------------------------------


def test_the_exercise_is_mystery_7_to_the_letter(apps: ChapterApps) -> None:
    text = apps.source("repaired", "exercise").replace("MYSTERY = 7\nCAUSES = []\n\n", "")
    original = (SOURCES / "service_07.py").read_text(encoding="utf-8")
    assert text.strip() == original.partition("\n\n")[2].strip()


def test_the_untouched_exercise_is_not_solved(apps: ChapterApps) -> None:
    result = evaluate("10", apps.app("repaired", "exercise"))
    assert not result.solved
    assert "names no cause yet" in result.message


def test_the_solution_solves_the_exercise(apps: ChapterApps) -> None:
    assert evaluate("10", apps.app("repaired", "solution")).solved


NAMED = ("CAUSES = []", 'CAUSES = ["local disk", "shared objects"]')
IN_A_BUCKET = (
    ("import tempfile\nfrom pathlib import Path\n", "import os\n\nimport boto3\n"),
    (
        "NOTES = Path(tempfile.gettempdir())\n",
        'BUCKET = os.environ["SHOP_BUCKET"]\nstorage = boto3.client("s3")\n',
    ),
    (
        '    (NOTES / f"{company}.txt").write_text(note)\n',
        "    storage.put_object(Bucket=BUCKET, Key=company, Body=note.encode())\n",
    ),
    (
        '(NOTES / f"{company}.txt").read_text()}',
        'storage.get_object(Bucket=BUCKET, Key=company)["Body"].read().decode()}',
    ),
)
A_WRITER_EACH = (
    ("writer = Agent(", "def new_writer() -> Agent:\n  return Agent("),
    (
        'llm=LLM(model="gpt-4o-mini"),\n)\n',
        'llm=LLM(model="gpt-4o-mini"),\n  )\n',
    ),
    ("    letter = Task(", "    writer = new_writer()\n    letter = Task("),
)
A_LOCK = (
    ("writer = Agent(", "import threading\nlock = threading.Lock()\nwriter = Agent("),
    (
        "    return Crew(agents=[writer], tasks=[letter]).kickoff(inputs=inputs).raw\n",
        "    with lock:\n"
        "        return Crew(agents=[writer], tasks=[letter]).kickoff(inputs=inputs).raw\n",
    ),
)
WRONG_ANSWERS = {
    "named only": ((NAMED,), "not repaired: shared objects still shows"),
    "the writer only": ((NAMED, *A_WRITER_EACH), "not repaired: local disk still shows"),
    "the disk only": ((NAMED, *IN_A_BUCKET), "not repaired: shared objects still shows"),
    "a lock": ((NAMED, *IN_A_BUCKET, *A_LOCK), "customers wait for one another"),
    "one of the causes": (
        (("CAUSES = []", 'CAUSES = ["local disk"]'),),
        "right about local disk, and something else is wrong as well",
    ),
    "all causes": (
        (("CAUSES = []", f"CAUSES = {list(CAUSES)}"),),
        "to name everything is no diagnosis",
    ),
    "a word": ((("CAUSES = []", 'CAUSES = "leak"'),), "CAUSES is no list of names"),
    "no number": ((NAMED, ("MYSTERY = 7", "MYSTERY = 77")), "MYSTERY must be a number"),
}


@pytest.mark.parametrize(
    "answer",
    some(WRONG_ANSWERS, "the disk only", "one of the causes", "all causes", "a word", "no number"),
)
def test_a_plausible_wrong_answer_is_told_what_was_seen(apps: ChapterApps, answer: str) -> None:
    changes, says = WRONG_ANSWERS[answer]
    result = evaluate("10", apps.changed("repaired", "exercise", *changes))
    assert not result.solved
    assert says in result.message


def test_a_folder_that_only_this_machine_shares_is_no_repair(
    apps: ChapterApps, tmp_path: Path
) -> None:
    shared = ("Path(tempfile.gettempdir())", f"Path({str(tmp_path)!r})")
    result = evaluate("10", apps.changed("repaired", "exercise", NAMED, *A_WRITER_EACH, shared))
    assert not result.solved
    assert "not by way of the bucket" in result.message


NO_KICKOFF = """\
MYSTERY = 7
CAUSES = ["local disk", "shared objects"]

import os, boto3

s3, where = boto3.client("s3"), {"Bucket": os.environ["SHOP_BUCKET"]}


def run(inputs):
    key = {**where, "Key": inputs["company"]}
    if "note" in inputs:
        s3.put_object(**key, Body=inputs["note"].encode())
    note = s3.get_object(**key)["Body"].read().decode()
    return f"Report on {inputs['company']}: {note}"
"""


def test_an_answer_without_a_kickoff_is_told_so(apps: ChapterApps) -> None:
    result = evaluate("10", apps.save("repaired", NO_KICKOFF))
    assert not result.solved
    assert "not every customer's came from the model" in result.message


@pytest.mark.parametrize("number", some(REPAIRS, 3, 11))
def test_the_check_knows_every_mystery_when_it_is_repaired(apps: ChapterApps, number: int) -> None:
    if number == FORKED and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    source = (SOURCES / f"service_{number:02}.py").read_text(encoding="utf-8")
    for old, new in REPAIRS[number]:
        assert old in source, f"{old!r} is not in mystery {number}"
        source = source.replace(old, new)
    causes = list(CASES[number].causes) or ["healthy"]
    app = apps.save("repaired", f"{source}\nMYSTERY = {number}\nCAUSES = {causes}\n")
    result = evaluate("10", app)
    assert result.solved, result
