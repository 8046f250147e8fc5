"""Asks a question, and says of each option why it is right or what it overlooks."""

from __future__ import annotations

import html
from typing import Any

from crewlab import workspace
from crewlab.exercises import catalog
from crewlab.exercises.progress import record_quiz
from crewlab.exercises.types import Quiz
from crewlab.notebook.show import GOOD, TRY_AGAIN, as_html, panel, plain, show

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

# ipywidgets gives each radio button one line of a fixed height, its words before the button.
_STYLE = (
    "<style>.crewlab-option, .crewlab-option .widget-radio-box, .crewlab-option label"
    " {height: auto !important; line-height: 1.4}"
    " .crewlab-option label {display: flex; flex-direction: row-reverse;"
    " justify-content: flex-end; align-items: flex-start}"
    " .crewlab-option input {flex: none; margin-top: 0}</style>"
)

_shown: dict[str, Any] = {}  # the widget of each quiz, closed when the cell runs again


def quiz(name: str, answer: int | None = None) -> None:
    """Ask a quiz, with buttons where the notebook is live and as text where it is not.

    Args:
        name: such as "01-predict".
        answer: the number of an option, counted from 1: answer without the buttons.
    """
    try:
        asked = catalog.quiz(name)
    except catalog.Unknown as problem:
        show(str(problem))
        return
    if answer is not None:
        _answer_in_text(name, asked, answer)
        return
    bundle = _widget_bundle(name, asked) if workspace.live() else None
    show(_question_text(name, asked), _question_html(name, asked), bundle)


def feedback(asked: Quiz, choice: int) -> str:
    """Say what a choice is worth, in words.

    Args:
        asked: the quiz.
        choice: the number of an option, counted from 1.

    Returns:
        A wrong choice's own reason; after the right choice, the reason of every option.
    """
    chosen = asked.options[choice - 1]
    if not chosen.right:
        return f"✗ Not {choice}: {chosen.why}\nChoose again."
    others = [
        f"Not {number}: {option.why}"
        for number, option in enumerate(asked.options, 1)
        if not option.right
    ]
    return "\n".join([f"✓ Right, {choice}: {chosen.why}", *others])


def _answer_in_text(name: str, asked: Quiz, answer: object) -> None:
    count = len(asked.options)
    if type(answer) is not int or not 1 <= answer <= count:
        show(f"{answer!r} is not an option of this quiz: choose a number from 1 to {count}.")
        return
    record_quiz(name, answer, asked.options[answer - 1].right)
    show(plain(feedback(asked, answer)), _feedback_html(asked, answer))


def _feedback_html(asked: Quiz, choice: int) -> str:
    colour = GOOD if asked.options[choice - 1].right else TRY_AGAIN
    # role=status: a screen reader says it when it appears, without moving the focus.
    return f'<div role="status">{panel(as_html(feedback(asked, choice)), colour)}</div>'


def _question_text(name: str, asked: Quiz) -> str:
    options = (f"  {n}. {plain(option.text)}" for n, option in enumerate(asked.options, 1))
    return "\n".join(
        [f"Quiz {name}: {plain(asked.question)}", *options, f'Answer: quiz("{name}", answer=1)']
    )


def _question_html(name: str, asked: Quiz) -> str:
    options = "".join(f"<li>{as_html(option.text)}</li>" for option in asked.options)
    answer = html.escape(f'quiz("{name}", answer=1)', quote=False)
    return (
        f"<p><strong>Quiz.</strong> {as_html(asked.question)}</p><ol>{options}</ol>"
        f"<p>Run this cell to choose an answer, or answer with <code>{answer}</code>.</p>"
    )


def _widget_bundle(name: str, asked: Quiz) -> dict[str, Any]:
    import ipywidgets

    if name in _shown:
        _shown.pop(name).close_all()
    box = _shown[name] = _build_widget(ipywidgets, name, asked)
    return {
        _WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": box.model_id},
    }


def _build_widget(ipywidgets: Any, name: str, asked: Quiz) -> Any:
    # One radio button a widget: inside a group only the arrow keys would lead from one to the
    # next, and JupyterLab takes those for a move to another cell. So Tab does, and Space chooses.
    radios = [
        ipywidgets.RadioButtons(
            options=[f"{number}. {plain(option.text)}"], value=None, layout={"width": "100%"}
        )
        for number, option in enumerate(asked.options, 1)
    ]
    button = ipywidgets.Button(description="Answer", disabled=True, tooltip="Answer this quiz")
    reply = ipywidgets.HTML()

    def choose(change: Any) -> None:
        if change["new"] is None:
            return
        for radio in radios:
            if radio is not change["owner"]:
                radio.index = None
        button.disabled = False
        reply.value = ""

    def answer(_button: Any) -> None:
        for number, radio in enumerate(radios, 1):
            if radio.index is not None:
                record_quiz(name, number, asked.options[number - 1].right)
                reply.value = _feedback_html(asked, number)

    for radio in radios:
        radio.observe(choose, names="index")
        radio.add_class("crewlab-option")
    button.on_click(answer)
    question = ipywidgets.HTML(f"{_STYLE}<strong>Quiz.</strong> {as_html(asked.question)}")
    return ipywidgets.VBox([question, *radios, button, reply])
