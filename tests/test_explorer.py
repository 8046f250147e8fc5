"""``explore(app)``: sliders and a button over the real deployment, in a real kernel."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewlab.app import App
from crewlab.notebook.explorer import LIMITS, Lanes, explore
from crewlab.notebook.show import CellRefused
from crewlab.results.records import Event
from tests.apps import ASK
from tests.kernels import KILL_SERVICES, Cell, Kernel, kernel

WIDGET = "application/vnd.jupyter.widget-view+json"

# Small apps without CrewAI: these tests are about the explorer, and a replica starts faster so.
ECHO = "def run(inputs):\n    return 'Report on ' + inputs['company']\n"
ASKS_MODEL = (
    ASK
    + """
def run(inputs):
    return ask(inputs["company"])
"""
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A notebook somebody sits before."""
    home = tmp_path_factory.mktemp("learner") / "home"
    with kernel(home, notebook=home.parent / "notebooks" / "90_test.ipynb") as notebook:
        notebook.load(preload=True)
        notebook.run(f"%%app echo\n{ECHO}")
        notebook.run(f"%%app asks\n{ASKS_MODEL}")
        # What explore() builds, so that a cell can press its button.
        notebook.run(
            "from crewlab.notebook import explorer\n"
            "opened = []\n"
            "build = explorer._Explorer.__init__\n"
            "def note(self, *given):\n"
            "    build(self, *given)\n"
            "    opened.append(self)\n"
            "explorer._Explorer.__init__ = note"
        )
        yield notebook


def pictures(cell: Cell) -> list[dict[str, Any]]:
    return [bundle for bundle in cell.bundles + cell.updates if "image/png" in bundle]


def test_a_notebook_run_by_a_tool_gets_one_run_with_table_and_picture_and_no_widget(
    live: Kernel,
) -> None:
    live.run("import os; name = os.environ.pop('JPY_SESSION_NAME')")
    cell = live.run("explore(echo)")
    live.run("echo.path.unlink()")
    refused = live.run("explore(echo)")
    live.run("os.environ['JPY_SESSION_NAME'] = name")
    live.run(f"%%app echo\n{ECHO}")
    assert cell.status == "ok", cell.error
    table, picture = cell.bundles
    assert "echo: 8 requests on 4 replicas x 4 threads" in table["text/plain"]
    assert table["text/plain"].startswith("~~~ varies\n")
    assert table["text/plain"].endswith("\n~~~")
    assert "<table" in table["text/html"]
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert not any(WIDGET in bundle for bundle in cell.bundles)
    assert refused.status == "error"  # a run that fails must not pass for one in a stored notebook
    assert len(refused.error) <= 3


def test_a_live_notebook_gets_controls_and_a_first_run_at_once(live: Kernel) -> None:
    cell = live.run("explore(echo, replicas=2, threads=2, requests=4)")
    assert cell.status == "ok", cell.error
    assert WIDGET in cell.bundles[0]
    table, picture = cell.updates
    assert "echo: 4 requests on 2 replicas x 2 threads" in table["text/plain"]
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    said = live.run("print(opened[-1].status.value)").text
    assert "Done" in said
    assert 'role="status"' in said


def test_the_button_runs_what_the_sliders_say_and_replaces_the_picture(live: Kernel) -> None:
    live.run("explore(echo, replicas=1, threads=1, requests=1)")
    live.run("sliders = opened[-1].sliders; sliders['requests'].value = 6")
    cell = live.run("sliders['replicas'].value = 2; opened[-1].button.click()")
    assert cell.status == "ok", cell.error
    assert cell.bundles == []
    assert "echo: 6 requests on 2 replicas" in cell.updates[0]["text/plain"]
    assert len(pictures(cell)) == 1


def test_every_control_has_a_label_and_its_limits(live: Kernel) -> None:
    live.run("explore(echo, replicas=1, threads=1, requests=1)")
    shown = live.run(
        "print([(s.description, s.min, s.max) for s in opened[-1].sliders.values()],"
        " opened[-1].button.description)"
    ).text
    assert shown == (
        "[('replicas', 1, 8), ('threads', 1, 16), ('requests', 1, 64),"
        " ('latency (s)', 0.0, 2.0)] Run\n"
    )


def test_controls_are_off_while_a_deployment_runs_and_on_again_after(live: Kernel) -> None:
    live.run("explore(echo, replicas=1, threads=1, requests=1)")
    live.run(
        "seen = []\n"
        "def look(change): seen.append((opened[-1].button.disabled, change['new'][:60]))\n"
        "opened[-1].status.observe(look, names='value')\n"
        "opened[-1].button.click()"
    )
    during = live.run("print(all(off for off, _ in seen), len(seen) > 2)").text
    assert during == "True True\n"
    assert live.run("print(opened[-1].button.disabled)").text == "False\n"


def test_the_latency_holds_for_the_run_and_what_was_configured_comes_back(live: Kernel) -> None:
    live.run("services.model.configure(latency=0.01, max_in_flight=7); services.model.reset()")
    cell = live.run("explore(asks, replicas=1, threads=4, requests=4, latency=0.4)")
    assert cell.status == "ok", cell.error
    took = live.run("print(min(c.finished - c.started for c in services.model.journal()))")
    assert float(took.text) >= 0.4
    kept = live.run("s = services.model.settings; print(s.latency, s.max_in_flight)").text
    assert kept == "0.01 7\n"
    live.run("services.model.configure()")


def test_services_that_died_are_back_for_the_next_click(live: Kernel) -> None:
    live.run("explore(asks, replicas=1, threads=1, requests=1)")
    # One cell: the look that each new cell takes at the services must not be what repairs them.
    press = "opened[-1].button.click()\nprint(opened[-1].status.value)"
    cell = live.run(f"{KILL_SERVICES}\n{press}")
    assert "restarted on the same ports" in cell.text
    assert "1 request on 1 replica" in cell.updates[0]["text/plain"]
    assert "ok" in cell.updates[0]["text/plain"]


def test_what_goes_wrong_is_told_below_the_button_and_the_button_works_again(live: Kernel) -> None:
    live.run("explore(echo, replicas=1, threads=1, requests=1)")
    live.run("kept = echo.source; echo.path.unlink()")
    cell = live.run("opened[-1].button.click(); print(opened[-1].status.value)")
    assert cell.status == "ok", cell.error
    assert "echo" in cell.text
    assert "Done" not in cell.text
    live.run("_ = echo.path.write_text(kept)")
    assert "Done" in live.run("opened[-1].button.click(); print(opened[-1].status.value)").text


def test_an_interrupt_ends_the_run_and_says_so(live: Kernel) -> None:
    live.run("%%app slow\nimport time\ndef run(inputs):\n    time.sleep(60)\n")
    live.run("explore(echo, replicas=1, threads=1, requests=1)")
    live.run("opened[-1].app = slow")
    cell = live.run(
        "import _thread, threading\n"
        "threading.Timer(1.5, _thread.interrupt_main).start()\n"
        "opened[-1].button.click()\n"
        "print(opened[-1].status.value, opened[-1].button.disabled)"
    )
    assert cell.status == "ok", cell.error
    assert "Stopped" in cell.text
    assert cell.text.endswith("False\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replicas", 0),
        ("replicas", 9),
        ("replicas", 2.5),
        ("replicas", True),
        ("threads", 17),
        ("requests", "16"),
        ("requests", None),
        ("latency", -0.1),
        ("latency", float("nan")),
        ("latency", 3),
    ],
)
def test_a_value_without_a_place_on_its_slider_is_refused(
    name: str, value: Any, tmp_path: Path
) -> None:
    with pytest.raises(CellRefused) as refused:
        explore(App("echo", tmp_path / "echo.py"), **{name: value})
    least, most = LIMITS[name]
    assert f"from {least} to {most}" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 3


@pytest.mark.parametrize("thing", [None, 3, "nowhere.py", object()])
def test_something_that_is_no_app_is_refused_with_what_to_do(thing: Any) -> None:
    with pytest.raises(CellRefused) as refused:
        explore(thing)
    assert "%%app" in str(refused.value)
    assert len(str(refused.value).splitlines()) <= 3


def test_lanes_show_each_request_with_a_sign_that_needs_no_colour() -> None:
    lanes = Lanes(4)
    for event in [
        Event("ready", 0.1, "a-1"),
        Event("taken", 0.1, "a-1", 0),
        Event("taken", 0.1, "a-1", 1),
        Event("finished", 0.2, "a-1", 0, "ok"),
        Event("taken", 0.2, "a-2", 2),
        Event("finished", 0.2, "a-2", 2, "lost"),
        Event("ended", 0.2, "a-2"),
        Event("finished", 0.3, None, 3, "lost"),
    ]:
        lanes.note(event)
    summary, first, second = str(lanes).splitlines()
    assert summary == "3 of 4 requests have an outcome."
    assert first.split() == ["a-1", "ready", "✓", "▸"]
    assert second.split() == ["a-2", "ended", "†"]
