"""``explore(app)``: sliders, a Run button, and what the deployment does while it does it."""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewlab import workspace
from crewlab.app import App
from crewlab.notebook.pair import Places, Publish, hand_over, publish_once
from crewlab.notebook.show import TRY_AGAIN, CellRefused, as_html, panel
from crewlab.results.style import SYMBOLS

if TYPE_CHECKING:
    from crewlab.results.records import Event
    from crewlab.results.run import Run

LIMITS: dict[str, tuple[float, float]] = {
    "replicas": (1, 8),
    "threads": (1, 16),
    "requests": (1, 64),
    "latency": (0.0, 2.0),
}
"""Lowest and highest value of each slider; the latency is in seconds."""

REDRAW = 0.2
"""Seconds between two looks at a running deployment: more often only makes the browser busy."""

_WORKING = "▸"


def explore(
    app: App | str | Path,
    *,
    replicas: int = 4,
    threads: int = 4,
    requests: int = 8,
    latency: float = 0.1,
) -> None:
    """Deploy an app with settings chosen by sliders, as often as you like.

    The first run starts at once, so that a saved notebook holds its table and its picture; each
    further run replaces both. Without a live front end that run is all there is.

    Args:
        app: what a ``%%app`` cell bound, or the path of its file.
        replicas: processes, 1 to 8.
        threads: requests each replica works on at the same time, 1 to 16.
        requests: how many, 1 to 64.
        latency: seconds the local model takes for each answer, 0 to 2.

    Raises:
        CellRefused: there is no such app, a value has no place on its slider, or the only run
            of a notebook without front end failed; in three lines or fewer.
    """
    chosen = {"replicas": replicas, "threads": threads, "requests": requests, "latency": latency}
    _refuse_impossible(chosen)
    deployed = _as_app(app)
    if workspace.live():
        _Explorer(deployed, chosen).open()
        return
    try:
        run = deploy(deployed, chosen)
    except Exception as problem:
        raise CellRefused(_message(problem)) from None
    _show_run(run, publish_once)


def deploy(
    app: App, chosen: dict[str, Any], on_event: Callable[[Event], None] | None = None
) -> Run:
    """Run a deployment with a latency of the local model that ends with it.

    Args:
        app: the app.
        chosen: "replicas", "threads", "requests" and "latency" (seconds).
        on_event: called for each event of the deployment.

    Returns:
        The finished run.
    """
    from crewlab.deployment import scale

    settings = {name: value for name, value in chosen.items() if name != "latency"}
    with _model_latency(chosen["latency"]):
        return scale(app, **settings, on_event=on_event)


@dataclass
class Lanes:
    """A running deployment in text: one line a replica, one sign a request.

    Attributes:
        requests: how many were sent.
        finished: the numbers of those that have an outcome.
        replicas: for each replica, its state and the sign of each request it took.
    """

    requests: int
    finished: set[int | None] = field(default_factory=set)
    replicas: dict[str, tuple[str, dict[int, str]]] = field(default_factory=dict)

    def note(self, event: Event) -> None:
        """Take an event in."""
        if event.kind == "finished":
            self.finished.add(event.request)
        if event.replica is None:  # a request that no replica was there to take
            return
        state, signs = self.replicas.get(event.replica, ("starting", {}))
        if event.request is None:
            state = event.kind
        elif event.kind == "finished":
            signs[event.request] = SYMBOLS.get(str(event.outcome), "?")
        else:
            signs[event.request] = _WORKING
        self.replicas[event.replica] = (state, signs)

    def __str__(self) -> str:
        lines = [f"{len(self.finished)} of {self.requests} requests have an outcome."]
        for name, (state, signs) in sorted(self.replicas.items()):
            lines.append(f"{name:<16} {state:<9} {' '.join(signs.values())}".rstrip())
        return "\n".join(lines)


class _Explorer:
    """The widget: four sliders, a button, a status, and two outputs that a run replaces."""

    def __init__(self, app: App, chosen: dict[str, Any]) -> None:
        import ipywidgets

        self.app = app
        self.places = Places()
        self.sliders = {name: _slider(ipywidgets, name, value) for name, value in chosen.items()}
        self.button = ipywidgets.Button(
            description="Run",
            button_style="primary",
            icon="play",
            tooltip="Deploy the app with these settings",
        )
        self.status = ipywidgets.HTML()
        self.button.on_click(lambda _button: self.run())
        controls = [*self.sliders.values(), self.button, self.status]
        self.box = ipywidgets.VBox(controls)

    def open(self) -> None:
        """Show the controls, and run once."""
        from IPython.display import display

        bundle = self.box._repr_mimebundle_()
        bundle["text/plain"] = f"explore({self.app.name}): run this cell for sliders and a button."
        display(bundle, raw=True)
        self.places.open(" of a run")
        self.run()

    def run(self) -> None:
        """Deploy with what the sliders say. Whatever goes wrong is told below the button."""
        chosen = {name: slider.value for name, slider in self.sliders.items()}
        lanes = Lanes(chosen["requests"])
        drawn = 0.0

        def look(event: Event) -> None:
            nonlocal drawn
            lanes.note(event)
            if time.monotonic() - drawn >= REDRAW:
                drawn = time.monotonic()
                self.status.value = f"<pre>{html.escape(str(lanes))}</pre>"

        self._enable(False)
        self.status.value = f"Starting {self.app.name} ..."
        try:
            notice = _ensure_services()
            run = deploy(self.app, chosen, look)
            done = f"✓ Done: {run.app} has run, and its table is below.\n{notice}"
            self.status.value = _said(as_html(done.strip()))
            _show_run(run, self.places.publish)
        except KeyboardInterrupt:
            self.status.value = _said("Stopped: every replica has been ended.")
        except Exception as problem:
            self.status.value = _said(panel(as_html(_message(problem)), TRY_AGAIN))
        finally:
            self._enable(True)

    def _enable(self, on: bool) -> None:
        for control in (*self.sliders.values(), self.button):
            control.disabled = not on


def _slider(ipywidgets: Any, name: str, value: float) -> Any:
    least, most = LIMITS[name]
    common: dict[str, Any] = {
        "value": value,
        "min": least,
        "max": most,
        "description": f"{name} (s)" if name == "latency" else name,
        "continuous_update": False,
        "style": {"description_width": "6em"},
        "layout": {"width": "28em", "max_width": "100%"},
    }
    if name == "latency":
        return ipywidgets.FloatSlider(step=0.1, readout_format=".1f", **common)
    return ipywidgets.IntSlider(**common)


def _show_run(run: Run, publish: Publish) -> None:
    hand_over(
        publish,
        text=str(run),
        html=run._repr_html_(),
        draw=run.picture,
        alt="The table above, drawn.",
    )


@contextlib.contextmanager
def _model_latency(seconds: float) -> Iterator[None]:
    """Make the local model as slow as asked, and as it was afterwards."""
    from crewlab import services

    running = services.current()
    if running is None:  # an app run without %load_ext, against a model of the reader's own
        yield
        return
    changed = {**vars(running.model.settings), "latency": float(seconds)}
    with running.model.temporarily(**changed):
        try:
            yield
        finally:
            running.ensure()


def _ensure_services() -> str:
    """Look after the services: a click on a button runs no cell, which would have done it."""
    from crewlab import services

    running = services.current()
    return (running and running.ensure()) or ""


def _refuse_impossible(chosen: dict[str, Any]) -> None:
    for name, value in chosen.items():
        least, most = LIMITS[name]
        number = float if name == "latency" else int
        fits = isinstance(value, number | int) and not isinstance(value, bool)
        if not fits or not least <= value <= most:
            raise CellRefused(
                f"{name}={value!r} has no place on the slider, which goes from {least} to {most}.\n"
                f"Leave {name} out, or choose a value in that range."
            )


def _as_app(app: object) -> App:
    if isinstance(app, App):
        return app
    try:
        if not isinstance(app, str | Path):
            raise ValueError(f"explore() needs an app, and {type(app).__name__} is none.")
        return App.from_file(app)
    except ValueError as problem:
        raise CellRefused(
            f"{problem}\nRun the cell that starts with %%app, then give the name written there."
        ) from None


def _said(words: str) -> str:
    return f'<div role="status">{words}</div>'  # a screen reader says it when it appears


def _message(problem: Exception) -> str:
    return "\n".join((str(problem) or type(problem).__name__).splitlines()[:3])
