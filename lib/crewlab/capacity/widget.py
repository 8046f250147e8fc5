"""``calculator(measured)``: type in hosts, quota and prices, and read what n replicas need."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from crewlab import workspace
from crewlab.capacity.model import Deployment, Measured
from crewlab.capacity.sheet import results_as_html, results_as_text
from crewlab.notebook.pair import Places, Publish, hand_over, publish_once
from crewlab.notebook.show import CellRefused

LIMITS: dict[str, tuple[float, float]] = {
    "replicas": (1, 10_000),
    "threads": (1, 128),
    "cores": (1, 256),
    "memory": (0.25, 4096.0),
    "probe": (1.0, 3600.0),
    "call_seconds": (0.01, 600.0),
    "requests_per_minute": (0.0, 1e9),
    "tokens_per_minute": (0.0, 1e12),
    "prompt_price": (0.0, 1e6),
    "completion_price": (0.0, 1e6),
}
"""Lowest and highest value of each field, in the units of ``Deployment``."""

LABELS: dict[str, str] = {
    "replicas": "replicas in all",
    "threads": "threads of a replica",
    "preloaded": "preloaded: forked from one parent a host",
    "cores": "cores of a host",
    "memory": "memory of a host, GiB",
    "probe": "start-up probe allows, s",
    "call_seconds": "a call to your model takes, s",
    "requests_per_minute": "quota: calls a minute (0: none)",
    "tokens_per_minute": "quota: tokens a minute (0: none)",
    "prompt_price": "your provider's price, 1,000,000 prompt tokens",
    "completion_price": "your provider's price, 1,000,000 completion tokens",
}

WHOLE = ("replicas", "threads", "cores")
ALT = "The table above, drawn: memory, start-up and requests a second over the replicas."


def calculator(measured: Measured, **wanted: Any) -> None:
    """Show what a deployment needs and can do, with a field for everything that is not measured.

    Table and picture are worked out at once, so that a saved notebook holds both; each change of
    a field replaces them. Without a live front end there are no fields.

    Args:
        measured: what ``measure`` found.
        **wanted: what the fields start with, by the names and in the units of ``Deployment``, for
            example ``replicas=1000, cores=4, memory=16, requests_per_minute=500``.

    Raises:
        CellRefused: there is no such field, or a value does not fit; in three lines or fewer.
    """
    if not isinstance(measured, Measured):
        raise CellRefused(
            f"calculator() needs measured figures, and {type(measured).__name__} is none.\n"
            "They come from a run: measured = capacity.measure(app)."
        )
    deployment = _deployment(measured, wanted)
    if workspace.live():
        _Calculator(measured, deployment).open()
    else:
        _show(measured, deployment, publish_once)


def _deployment(measured: Measured, wanted: dict[str, Any]) -> Deployment:
    known = [field.name for field in fields(Deployment)]
    for name, value in wanted.items():
        if name not in known:
            raise CellRefused(
                f"calculator() has no field {name!r}.\nIts fields are {', '.join(known)}."
            )
        _refuse_impossible(name, value)
    if wanted.get("preloaded") and measured.preloaded is None:
        raise CellRefused(
            "preloaded=True cannot be worked out: no replica was forked when this was measured.\n"
            "Nothing is on Windows, nor with CREWLAB_PRELOAD=off.\nLeave preloaded out."
        )
    return Deployment(**{"threads": measured.threads, **wanted})


def _refuse_impossible(name: str, value: object) -> None:
    if name == "preloaded":
        if not isinstance(value, bool):
            raise CellRefused(f"preloaded={value!r} is neither True nor False.\nGive one of them.")
        return
    least, most = LIMITS[name]
    number = int if name in WHOLE else float
    fits = isinstance(value, number | int) and not isinstance(value, bool)
    if not fits or not least <= value <= most:  # type: ignore[operator]
        kind = "a whole number" if name in WHOLE else "a number"
        raise CellRefused(
            f"{name}={value!r} does not fit: {LABELS[name]}.\n"
            f"It is {kind} from {least:g} to {most:,.12g}."
        )


class _Calculator:
    """The widget: a field an input, and two outputs that each change replaces."""

    def __init__(self, measured: Measured, deployment: Deployment) -> None:
        import ipywidgets

        self.measured = measured
        self.places = Places()
        self.fields = {
            name: _field(ipywidgets, name, value) for name, value in asdict(deployment).items()
        }
        if measured.preloaded is None:
            self.fields["preloaded"].disabled = True
        self.status = ipywidgets.HTML()
        for field in self.fields.values():
            field.observe(lambda _change: self.work_out(), names="value")
        self.box = ipywidgets.VBox([*self.fields.values(), self.status])

    def open(self) -> None:
        """Show the fields, and what follows from them."""
        from IPython.display import display

        bundle = self.box._repr_mimebundle_()
        bundle["text/plain"] = "calculator(): run this cell for fields to type in."
        display(bundle, raw=True)
        self.places.open()
        self.work_out()

    @property
    def deployment(self) -> Deployment:
        """What the fields say."""
        return Deployment(**{name: field.value for name, field in self.fields.items()})

    def work_out(self) -> None:
        """Replace table and picture; say so where a screen reader hears it."""
        wanted = self.deployment
        _show(self.measured, wanted, self.places.publish)
        said = f"Worked out for {wanted.replicas:,} replicas: see the table below."
        self.status.value = f'<div role="status">{said}</div>'


def _field(ipywidgets: Any, name: str, value: Any) -> Any:
    wide = {"description_width": "28em"}
    layout = {"width": "40em", "max_width": "100%"}
    if name == "preloaded":
        return ipywidgets.Checkbox(
            value=value, description=LABELS[name], style=wide, layout=layout, indent=False
        )
    least, most = LIMITS[name]
    kind = ipywidgets.BoundedIntText if name in WHOLE else ipywidgets.BoundedFloatText
    return kind(
        value=value,
        min=least,
        max=most,
        step=1 if name in WHOLE else None,
        description=LABELS[name],
        continuous_update=False,
        style=wide,
        layout=layout,
    )


def _show(measured: Measured, wanted: Deployment, publish: Publish) -> None:
    from crewlab.capacity.pictures import draw_deployment

    hand_over(
        publish,
        text=results_as_text(measured, wanted),
        html=results_as_html(measured, wanted),
        draw=lambda: draw_deployment(measured, wanted),
        alt=ALT,
    )
