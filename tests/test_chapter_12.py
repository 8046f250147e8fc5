"""Chapter 12: each stage depends on one cause, and only a service that is right scores."""

from __future__ import annotations

import os
import re

import pytest

from crewlab import scale
from crewlab.app import App
from crewlab.building import Project
from crewlab.capstone import STAGES, forget, play, scoreboard
from crewlab.errors import ToldValueError
from crewlab.exercises.check import evaluate
from crewlab.results.run import ContractBroken
from crewlab.services.shop import Shop
from tests.chapter_apps import ChapterApps
from tests.whole import some

CHAPTER = "12"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the service forks job processes")

CHARGE_ONCE = 'Key=f"charges/{order}", '
CHARGE_AGAIN = 'Key=f"charges/{order}/{random.random()}", '

# What takes one repair back out of the solution, by the stage that must then fall over.
UNREPAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "01": (
        (
            "import random\nimport threading",
            "import random\nimport threading\nfrom functools import cache",
        ),
        ("def build_crew(", "@cache\ndef build_crew("),
    ),
    "02": (
        ("    SERPER_API_KEY: Secret[Filled]", '    SERPER_API_KEY: Secret[str] = Secret("")'),
        ("    found.raise_for_status()\n", ""),
        ('found.json()["news"]', 'found.json().get("news", [])'),
    ),
    "03": (
        (
            '    storage.put_object(Bucket=BUCKET, Key=f"orders/{company}", Body=text.encode())',
            '    from pathlib import Path\n\n    Path(f"{company}.txt").write_text(text)',
        ),
        (
            '    kept = storage.get_object(Bucket=BUCKET, Key=f"orders/{company}")\n'
            '    return kept["Body"].read().decode()',
            '    from pathlib import Path\n\n    return Path(f"{company}.txt").read_text()',
        ),
    ),
    "04": (
        (
            'pool.submit(work, inputs["job"], details).result()',
            'pool.submit(Crew.kickoff, build_crew(inputs["job"]), inputs=details).result().raw',
        ),
    ),
    "05": (
        ("max_workers=max(1, settings.MODEL_QUOTA // settings.REPLICAS)", "max_workers=50"),
        (
            "@stamina.retry(on=as_told, attempts=8, timeout=30)",
            "@stamina.retry(on=RateLimitError, attempts=3, wait_initial=0, wait_jitter=0)",
        ),
    ),
    "06": (
        (
            "pool = start_pool() if settings.JOB_PROCESSES else None\n",
            "pool = start_pool() if settings.JOB_PROCESSES else None\nwarm_up()\n",
        ),
    ),
    "07": (
        (
            "    result = build_crew(job)",
            "    from crewai.events import LLMCallCompletedEvent\n\n"
            "    @crewai_event_bus.on(LLMCallCompletedEvent)\n"
            "    def count(source, event) -> None:\n"
            "        len(contract)\n\n"
            "    result = build_crew(job)",
        ),
    ),
    "08": (
        ("timeout=2, max_retries=3", "max_retries=3"),
        ('json={"q": company}, timeout=2', 'json={"q": company}'),
    ),
    "09": ((CHARGE_ONCE, CHARGE_AGAIN),),
}


@pytest.fixture(autouse=True)
def _nothing_was_played() -> None:
    forget()


def without(apps: ChapterApps, *numbers: str) -> App:
    """Give the solution with some of its repairs taken out."""
    changes = [change for number in numbers for change in UNREPAIRS[number]]
    return apps.changed("service", "solution", *changes)


@pytest.mark.whole
def test_one_replica_and_one_order_at_a_time_show_nothing(apps: ChapterApps) -> None:
    shop = Shop()
    orders = [{"job": "order", "item": "U1", **order} for order in shop.orders(2)]
    for tag in ("exercise", "solution"):
        app = apps.app("service", tag)
        run = scale(app, replicas=1, threads=1, requests=orders, env=shop.environment)
        run.expect(ok="all")


@pytest.mark.parametrize("number", some(STAGES, "02"))
def test_a_stage_falls_over_when_only_its_own_repair_is_missing(
    apps: ChapterApps, number: str
) -> None:
    board = play(without(apps, number), number)
    assert board.score == 0, str(board)


@pytest.mark.parametrize("number", some(STAGES, "01", "03", "09"))
def test_a_stage_holds_with_its_own_repair_whatever_the_others_do(
    apps: ChapterApps, number: str
) -> None:
    board = play(without(apps, *(other for other in STAGES if other != number)), number)
    board.expect(score=100)


@pytest.mark.whole
def test_the_solution_scores_100_and_does_so_again(apps: ChapterApps) -> None:
    solution = apps.app("service", "solution")
    result = evaluate("12", solution)
    assert result.solved, result
    assert "Falls over: none" in result.details[0]
    board = play(solution)
    board.expect(score=100)
    assert {(s.wrong, s.failed, s.lost) for s in board.scores} == {(0, 0, 0)}


HEAD = """
import os
import urllib.request

from crewai import LLM, Agent, Crew, Task


def kickoff(inputs):
    agent = Agent(role="Desk", goal="Serve", backstory="-", llm=LLM(model="gpt-4o-mini"))
    task = Task(description="Serve {company}: {item}.", expected_output="Text.", agent=agent)
    details = {"company": inputs["company"], "item": inputs.get("item", "")}
    return Crew(agents=[agent], tasks=[task]).kickoff(inputs=details).raw
"""


def cheat(body: str) -> str:
    """Give an app that begins with a kickoff at hand, and then does as it likes."""
    return f"{HEAD}\n\n{body}"


# How a score might be had without a repair: what the app does, the stage, and what is said of it.
CHEATS: dict[str, tuple[str, str, str]] = {
    "dropping every request": (
        "def run(inputs):\n    raise RuntimeError('too busy')\n",
        "01",
        "too busy",
    ),
    "answering nothing": ("def run(inputs):\n    return ''\n", "01", "does not name its customer"),
    "an answer without a kickoff": (
        "def run(inputs):\n    return f\"{inputs['company']} gets {inputs.get('item')}\"\n",
        "01",
        "the answer is not all the model's",
    ),
    "an answer without a kickoff where replicas are killed": (
        "def run(inputs):\n    return f\"{inputs['company']} gets {inputs.get('item')}\"\n",
        "09",
        "not all the model's",
    ),
    "a kickoff without a payment": ("run = kickoff\n", "07", "never charged"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_does_not_score(apps: ChapterApps, name: str) -> None:
    body, number, says = CHEATS[name]
    board = play(apps.save("service", cheat(body)), number)
    assert board.score == 0, str(board)
    assert says in board.scores[0].seen


def test_a_lock_around_the_shared_crew_does_not_score(apps: ChapterApps) -> None:
    app = apps.changed(
        "service",
        "solution",
        *UNREPAIRS["01"],
        (
            "    result = build_crew(job).kickoff(inputs=details)",
            "    with warming:\n        result = build_crew(job).kickoff(inputs=details)",
        ),
    )
    board = play(app, "01")
    assert board.score == 0, str(board)
    assert board.scores[0].seen == "the customers wait for one another"


def test_an_order_that_a_replica_remembers_does_not_score(apps: ChapterApps) -> None:
    [(keep, _), (read, _)] = UNREPAIRS["03"]
    app = apps.changed(
        "service",
        "solution",
        ("warming = threading.Lock()", "warming = threading.Lock()\nkept = {}"),
        (keep, "    kept[company] = text"),
        (read, "    return kept.get(company, 'no order')"),
    )
    board = play(app, "03")
    assert board.score == 0, str(board)
    assert "does not name its customer and order" in board.scores[0].seen


def test_remembered_answers_do_not_score(apps: ChapterApps) -> None:
    solution = apps.source("service", "solution")
    remembering = solution.replace(
        "    warm_up()\n    contract",
        "    warm_up()\n"
        "    if job == 'reviews':\n"
        "        return f'Reviews of {details[\"company\"]}: good.'\n"
        "    contract",
    )
    assert remembering != solution
    board = play(apps.save("service", remembering), "05")
    assert board.score == 0
    assert board.scores[0].seen == "the answer is not all the model's"


@pytest.mark.whole
def test_the_faults_are_not_within_the_services_reach(apps: ChapterApps) -> None:
    turning_off = """
def turn_faults_off() -> None:
    import os
    from urllib import error, request

    address = os.environ["OPENAI_BASE_URL"].removesuffix("/v1")
    for command in ("settings", "reset"):
        for key in ("", os.environ["OPENAI_API_KEY"]):
            asked = request.Request(
                f"{address}/_control/model/{command}",
                data=b"{}",
                headers={"Authorization": f"Bearer {key}"},
            )
            try:
                request.urlopen(asked, timeout=10)
            except error.URLError as refused:
                print("refused:", refused)
    for name in ("MODEL_QUOTA", "REPLICAS"):
        os.environ.pop(name, None)


"""
    source = without(apps, "05").source.replace(
        "def run(inputs: dict)", f"{turning_off}def run(inputs: dict)"
    )
    source = source.replace(
        '    company = inputs["company"]\n',
        '    turn_faults_off()\n    company = inputs["company"]\n',
    )
    board = play(apps.save("service", source), "05")
    assert board.score == 0, str(board)
    assert board.scores[0].run is not None
    log = board.scores[0].run.replicas[0].log
    assert log.count("refused: HTTP Error") == 4, log
    assert "Rate limit reached" in (board.scores[0].run.first_traceback or "")


@pytest.mark.parametrize("number", some(["05", "08", "09"], "05"))
def test_faults_do_not_pass_by_themselves(apps: ChapterApps, number: str) -> None:
    source = without(apps, number).source.replace(
        '    company = inputs["company"]\n',
        '    import time\n\n    time.sleep(2)\n    company = inputs["company"]\n',
    )
    assert play(apps.save("service", source), number).score == 0


def test_a_replica_that_ends_without_naming_the_variable_or_names_the_key_does_not_score(
    apps: ChapterApps,
) -> None:
    silent = apps.changed(
        "service",
        "solution",
        (
            "settings = Settings()",
            "try:\n    settings = Settings()\nexcept ValueError:\n    exit(3)",
        ),
    )
    board = play(silent, "02")
    assert board.scores[0].seen == "a replica ends at start-up and does not name SERPER_API_KEY"
    print_it = "import os\n\nprint(os.environ['OPENAI_API_KEY'])\nsettings = Settings()"
    talking = apps.changed("service", "solution", ("settings = Settings()", print_it))
    board = play(talking, "02")
    assert board.scores[0].seen == "a key is in the log"


@pytest.mark.usefixtures("few_stages")
def test_the_check_counts_the_causes_and_points_at_the_first(apps: ChapterApps) -> None:
    app = without(apps, "03", "04")
    result = evaluate("12", app)
    assert not result.solved
    assert result.message == "1 of 3 causes are repaired."
    assert "Falls over: 03, 04." in result.details[0]
    assert "See chapter 03" in (result.hint or "")


@pytest.mark.whole
def test_the_untouched_service_falls_over_in_every_stage_and_is_told_so(apps: ChapterApps) -> None:
    app = apps.app("service", "exercise")
    result = evaluate("12", app)
    assert not result.solved
    assert result.message == "0 of 9 causes are repaired."
    assert "Executor is already running" in result.details[2]
    board = scoreboard(app)  # as the check has played it
    board.expect(score=0)
    seen = {score.stage.number: score.seen for score in board.scores}
    assert "turns green" in seen["02"]
    assert "Read-only file system" in seen["03"]
    assert "cannot pickle" in seen["04"]
    assert "rate_reviews" in seen["05"]
    assert "no replica has done anything" in seen["06"]
    assert "OOMKilled" in seen["07"]
    assert "no replica has done anything" in seen["08"]
    assert "charged twice" in seen["09"]


@pytest.mark.usefixtures("few_stages")
def test_what_was_played_is_not_played_again_until_the_text_changes(
    apps: ChapterApps, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = apps.save("service", "def run(inputs): return 'nothing'")
    first = scoreboard(app)
    monkeypatch.setattr("crewlab.capstone.playing.play_stage", None)
    assert scoreboard(app).scores == first.scores
    app.path.write_text("def run(inputs): return 'something'")
    with pytest.raises(TypeError):
        scoreboard(app)


def test_a_score_that_is_another_one_is_complained_about(apps: ChapterApps) -> None:
    board = play(apps.save("service", "def run(inputs): return 'nothing'"), "04")
    board.expect(score=0)
    with pytest.raises(ContractBroken, match="Falls over: 04"):
        board.expect(score=100)


def test_a_stage_that_is_not_there_is_told(apps: ChapterApps) -> None:
    with pytest.raises(ToldValueError, match="no stage '12'"):
        play(apps.app("service", "exercise"), "12")


def test_the_board_says_in_text_html_and_picture_the_same(apps: ChapterApps) -> None:
    board = play(apps.save("service", "def run(inputs): return 'nothing'"), "04", "05")
    counts = [[score.right, score.wrong, score.failed, score.lost] for score in board.scores]
    assert (
        [[int(cell) for cell in row[1:5]] for row in board.rows[:2]] == counts == [[0, 2, 0, 0]] * 2
    )
    for cell in (cell for row in board.rows for cell in row):
        assert cell in str(board)
    bars = board.picture().axes[0].containers
    widths = [[bar.get_width() for bar in container] for container in bars]
    assert widths == [list(column) for column in zip(*counts, strict=True)]


def test_the_chapter_tells_of_every_stage_and_links_its_chapter() -> None:
    [path] = Project.find().select([CHAPTER])
    text = path.read_text(encoding="utf-8")
    for stage in STAGES.values():
        assert f"({stage.notebook}.ipynb)" in text
        assert re.search(rf"^\| {stage.number} \|", text, re.MULTILINE)
