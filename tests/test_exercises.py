"""Quizzes, checks and hints: what they say, and that no slip of a learner makes them raise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewlab import check, hint, quiz
from crewlab.app import App
from crewlab.exercises import catalog, progress
from crewlab.exercises.check import CheckFailed, evaluate
from crewlab.exercises.quiz import feedback
from crewlab.exercises.types import CheckResult, Option, Quiz
from tests import chapters
from tests.kernels import Kernel, kernel

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def small_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CREWLAB_HOME", str(tmp_path / "home"))
    replaced = chapters.use()
    yield
    for name in replaced:
        sys.modules.pop(name, None)


def app(tmp_path: Path, source: str) -> App:
    path = tmp_path / "mine.py"
    path.write_text(source, encoding="utf-8")
    return App.from_file(path)


# Quizzes


def test_a_quiz_shows_its_options_and_not_its_answer(capsys: Said) -> None:
    quiz("98-predict")
    assert capsys.readouterr().out == (
        "Quiz 98-predict: What happens to crew on 4 threads?\n"
        "  1. Nothing: it has a <lock>\n"
        "  2. It crashes\n"
        "  3. It is slower\n"
        'Answer: quiz("98-predict", answer=1)\n'
    )


def test_a_wrong_answer_gets_its_own_reason_and_gives_nothing_away(capsys: Said) -> None:
    quiz("98-predict", answer=1)
    assert capsys.readouterr().out == ("✗ Not 1: There is no lock around kickoff.\nChoose again.\n")


def test_the_right_answer_explains_every_option(capsys: Said) -> None:
    quiz("98-predict", answer=2)
    assert capsys.readouterr().out == (
        "✓ Right, 2: One executor serves all of them.\n"
        "Not 1: There is no lock around kickoff.\n"
        "Not 3: Nothing waits.\n"
    )


@pytest.mark.parametrize("answer", [0, 4, -1, 1.0, True, "2", [2]])
def test_an_answer_that_is_no_option_is_told_and_does_not_count(answer: Any, capsys: Said) -> None:
    quiz("98-predict", answer=answer)
    assert "choose a number from 1 to 3" in capsys.readouterr().out
    assert progress.store().read()["quizzes"] == {}


@pytest.mark.parametrize("name", ["98-other", "predict", "99-predict", "", "..", None, 98])
def test_a_quiz_that_does_not_exist_names_those_that_do(name: Any, capsys: Said) -> None:
    quiz(name)
    said = capsys.readouterr().out
    assert "There is no" in said
    assert "98" in said


def test_what_was_answered_is_remembered_first_guess_and_all(capsys: Said) -> None:
    for answer in (3, 2, 1):
        quiz("98-predict", answer=answer)
    kept = progress.store().read()["quizzes"]["98-predict"]
    assert kept == {"first": 3, "attempts": 3, "right": True}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((Option("a", "b", right=True),), "at least two"),
        ((Option("a", "b"), Option("c", "d")), "exactly one right"),
        ((Option("a", "b", right=True), Option("c", "d", right=True)), "exactly one right"),
        ((Option("a", "b", right=True), Option("c", " ")), "lacks its text or its reason"),
    ],
)
def test_a_quiz_that_could_not_be_answered_is_refused_when_it_is_written(
    options: tuple[Option, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Quiz("A question?", options)


# Checks


def test_an_untouched_exercise_is_not_solved_yet(tmp_path: Path, capsys: Said) -> None:
    check("98", app(tmp_path, "def run(inputs): return ''"))
    assert capsys.readouterr().out == (
        "Not solved yet: the name is <unchanged>.\n  - asked about: Aldermoor\n"
    )


def test_a_solution_is_solved_and_stays_solved(tmp_path: Path, capsys: Said) -> None:
    check("98", app(tmp_path, "upper"))
    assert capsys.readouterr().out.startswith("Solved: the name is in capitals.\n")
    check("98", app(tmp_path, "lower"))
    kept = progress.store().read()["chapters"]["98"]
    assert kept == {"attempts": 2, "solved": True}


def test_a_known_wrong_answer_gets_a_pointer(tmp_path: Path, capsys: Said) -> None:
    check(98, app(tmp_path, "lower"))  # type: ignore[arg-type]
    assert capsys.readouterr().out.endswith("Hint: The other way round.\n")


@pytest.mark.parametrize("source", ["crash", "nonsense"])
def test_a_check_that_fails_itself_is_no_verdict_and_no_attempt(
    source: str, tmp_path: Path, capsys: Said
) -> None:
    broken = app(tmp_path, source)
    check("98", broken)
    said = capsys.readouterr().out
    assert said.startswith("The check failed to run: ")
    assert "olved" not in said
    assert len(said.splitlines()) == 3
    assert progress.store().read()["chapters"] == {}
    with pytest.raises(CheckFailed):
        evaluate("98", broken)


@pytest.mark.parametrize("thing", [None, 3, "mine", "mine.py", object(), App])
def test_something_that_is_no_app_is_answered_with_what_to_do(thing: Any, capsys: Said) -> None:
    check("98", thing)
    said = capsys.readouterr().out
    assert said.startswith("Not solved yet: the check needs an app")
    assert "%%app" in said
    assert progress.store().read()["chapters"] == {}


def test_an_app_whose_file_is_gone_is_told_so(tmp_path: Path) -> None:
    gone = app(tmp_path, "upper")
    gone.path.unlink()
    verdict = evaluate("98", gone)
    assert not verdict.solved
    assert "is gone" in verdict.message


def test_a_chapter_without_exercise_has_nothing_to_check(tmp_path: Path) -> None:
    verdict = evaluate("97", app(tmp_path, "upper"))
    assert not verdict.solved
    assert "no exercise" in verdict.message


@pytest.mark.parametrize("chapter", ["99", "", None, "one", -1])
def test_a_chapter_that_does_not_exist_names_those_that_do(
    chapter: Any, tmp_path: Path, capsys: Said
) -> None:
    check(chapter, app(tmp_path, "upper"))
    hint(chapter)
    said = capsys.readouterr().out
    assert said.count('The chapters are: "97", "98".') == 2


def test_one_line_of_evidence_need_not_be_put_into_a_tuple() -> None:
    assert CheckResult(False, "no", "one line").details == ("one line",)  # type: ignore[arg-type]


# Hints


def test_hints_come_one_at_a_time_and_end_at_the_solved_edition(capsys: Said) -> None:
    for _ in range(4):
        hint("98")
    assert capsys.readouterr().out == (
        "Hint 1 of 3: Look at run.\n"
        "Hint 2 of 3: Use upper.\n"
        "Hint 3 of 3: Return inputs['company'].upper().\n"
        "You have seen all 3 hints of chapter 98.\n"
        'hint("98", 1) shows the first again.\n'
        "A solution, run and proved, is in solutions/98_....ipynb.\n"
    )
    assert progress.store().read()["chapters"]["98"] == {"hints": 3}


def test_a_hint_can_be_read_again_without_taking_the_next(capsys: Said) -> None:
    hint("98", again=True)
    hint("98")
    hint("98", again=True)
    hint("98", 1)
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first.startswith("Hint 1")
    assert second == third
    assert second.startswith("Hint 2")
    assert fourth == first
    assert progress.hints_shown("98") == 2


def test_a_hint_cannot_be_skipped_to(capsys: Said) -> None:
    hint("98", 3)
    assert capsys.readouterr().out == "Hint 3 comes after hint 1: take that one first.\n"
    hint("98", 1)
    assert capsys.readouterr().out.startswith("Hint 1 of 3")


@pytest.mark.parametrize("number", [0, -1, 9, 1.5, True, "one"])
def test_a_hint_that_does_not_exist_is_told(number: Any, capsys: Said) -> None:
    hint("98", number)
    assert "numbered from 1 to 3" in capsys.readouterr().out


def test_a_chapter_without_exercise_has_no_hints(capsys: Said) -> None:
    hint("97")
    assert "no hints" in capsys.readouterr().out


# In a notebook


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("learner") / "home"


@pytest.fixture(scope="module")
def live(home: Path) -> Iterator[Kernel]:
    """A notebook somebody sits before."""
    with kernel(home, notebook=home.parent / "notebooks" / "98_test.ipynb") as notebook:
        notebook.run(f"import sys; sys.path.insert(0, {str(ROOT)!r})")
        notebook.run("from tests import chapters; chapters.use()")
        notebook.load()
        yield notebook


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A notebook run by a tool, whose outputs are stored."""
    with kernel(tmp_path_factory.mktemp("tool") / "home") as notebook:
        notebook.run(f"import sys; sys.path.insert(0, {str(ROOT)!r})")
        notebook.run("from tests import chapters; chapters.use()")
        notebook.load()
        yield notebook


def test_a_stored_quiz_is_the_same_every_time_and_carries_no_widget(saved: Kernel) -> None:
    (first,), (second,) = (saved.run('quiz("98-predict")').bundles for _ in range(2))
    assert first == second
    assert sorted(first) == ["text/html", "text/plain"]
    page = first["text/html"]
    assert "<code>crew</code>" in page
    assert "&lt;lock&gt;" in page
    assert "executor" not in page  # the reasons come with the answer
    assert saved.run("import sys; print('ipywidgets' in sys.modules)").text == "False\n"


def test_a_live_quiz_is_a_widget_beside_the_same_text(live: Kernel, saved: Kernel) -> None:
    (shown,) = live.run('quiz("98-predict")').bundles
    (stored,) = saved.run('quiz("98-predict")').bundles
    view = shown.pop(WIDGET)
    assert shown == stored
    assert view["model_id"] not in shown["text/html"]


def test_the_buttons_of_a_quiz_answer_in_words_and_count(live: Kernel, home: Path) -> None:
    live.run('quiz("98-predict")')
    live.run("from crewlab.exercises.quiz import _shown")
    live.run("_, *radios, button, reply = _shown['98-predict'].children")
    chosen = "print(button.disabled, [radio.index for radio in radios])"
    assert live.run(chosen).text == "True [None, None, None]\n"
    live.run("radios[0].index = 0; button.click()")
    assert "✗ Not 1" in live.run("print(reply.value)").text
    live.run("radios[1].index = 0")
    assert live.run(chosen).text == "False [None, 0, None]\n"
    assert live.run("print(repr(reply.value))").text == "''\n"
    live.run("button.click()")
    said = live.run("print(reply.value)").text
    assert "✓ Right, 2" in said
    assert "<code>kickoff</code>" in said
    assert 'role="status"' in said
    line = live.run("progress()").bundles[0]["text/plain"]
    assert "1 of 2 quizzes right" in line
    assert (home / "progress.json").is_file()


def test_asking_a_quiz_again_closes_its_older_widget(live: Kernel) -> None:
    live.run('quiz("98-predict")')
    live.run("from crewlab.exercises.quiz import _shown")
    live.run("older = _shown['98-predict']")
    live.run('quiz("98-predict")')
    assert live.run("print(older.comm is None)").text == "True\n"


def test_in_a_notebook_a_verdict_comes_as_text_and_as_safe_html(saved: Kernel) -> None:
    saved.run("%%app mine\ndef run(inputs): return ''\n")
    (shown,) = saved.run('check("98", mine)').bundles
    assert shown["text/plain"].startswith("Not solved yet: ")
    assert "&lt;unchanged&gt;" in shown["text/html"]
    assert "Not solved yet:" in shown["text/html"]


def test_answers_in_a_notebook_run_by_a_tool_are_not_the_learners(saved: Kernel) -> None:
    saved.run("%%app mine\ndef run(inputs): return inputs['company'].upper()\n")
    assert saved.run('check("98", mine)').bundles[0]["text/plain"].startswith("Solved")
    table = saved.run("progress()").bundles[0]["text/plain"]
    assert "do not count" in table
    home = Path(saved.run("from crewlab import workspace; print(workspace.home())").text.strip())
    assert not (home / "progress.json").exists()


def test_answers_in_the_solved_edition_are_not_the_learners(
    monkeypatch: pytest.MonkeyPatch, live: Kernel
) -> None:
    live.run("import os; os.environ['JPY_SESSION_NAME'] = '/course/solutions/98_test.ipynb'")
    kept = "from crewlab import workspace; print(workspace.keeps_progress())"
    assert live.run(kept).text == "False\n"
    live.run("os.environ['JPY_SESSION_NAME'] = '/course/notebooks/98_test.ipynb'")
    assert live.run(kept).text == "True\n"


def test_the_reasons_of_all_options_are_reachable() -> None:
    asked = catalog.quiz("98-predict")
    told = [feedback(asked, number) for number in range(1, 4)]
    assert all(option.why in told[n] for n, option in enumerate(asked.options))
