"""The model's figures, results and assumptions as rows of texts, one source for text and HTML."""

from __future__ import annotations

import math
from html import escape

from crewlab.capacity.model import (
    MIB_A_GIB,
    MINUTE,
    Answer,
    Deployment,
    Measured,
    Replica,
    answer,
    cost_of,
    replica_rate,
)
from crewlab.results.html import html_table, varies
from crewlab.results.text import table

Row = tuple[str, ...]

FIGURES = ("figure", "value", "where it comes from")
RESULTS = ("what", "result", "how")
ASSUMPTIONS = ("assumed", "otherwise")

USS = "psutil, unique set size, after a warm replica's last request"
SIMULATED = "counted by the local model; simulated: a token is four characters"


def figures(measured: Measured) -> list[Row]:
    """Give each measured figure with its source, as ``FIGURES`` names the columns."""
    kinds = {"alone": measured.alone, "preloaded": measured.preloaded}
    rows: list[Row] = []
    for name, replica in kinds.items():
        if replica is not None:
            rows += _of_replica(name, replica)
    request = measured.request
    return [
        *rows,
        ("a request: processor", f"{request.cpu:.2f} CPU s", "process time of a warm replica"),
        ("a request: calls to the model", f"{request.calls:.1f}", "the local model's journal"),
        ("a request: prompt tokens", f"{request.prompt_tokens:.0f}", SIMULATED),
        ("a request: completion tokens", f"{request.completion_tokens:.0f}", SIMULATED),
        (
            "a call to the model",
            f"{request.call_seconds:.2f} s",
            "the local model's journal; its latency is set, not a provider's",
        ),
    ]


def _of_replica(name: str, replica: Replica) -> list[Row]:
    start = "process time until its app was imported"
    return [
        (f"a replica {name}: private memory", f"{replica.private:.0f} MiB", USS),
        (
            f"a replica {name}: shared memory",
            f"{replica.common:.0f} MiB",
            "psutil, resident less unique set size",
        ),
        (f"a replica {name}: start-up", f"{replica.start_cpu:.2f} CPU s", start),
    ]


def results(measured: Measured, wanted: Deployment) -> list[Row]:
    """Give what a deployment needs and can do, as ``RESULTS`` names the columns.

    Args:
        measured: what one replica and one request cost.
        wanted: what is to be deployed.

    Returns:
        A row for hosts, memory, start-up, requests, quota and price; each says how.
    """
    found = answer(measured, wanted)
    if not found.hosts:
        return [_no_way(measured, wanted, found), *_rates(measured, wanted, found)]
    replica = cost_of(measured, preloaded=wanted.preloaded)
    spread = math.ceil(wanted.replicas / found.hosts)
    late = found.start_seconds > wanted.probe
    return [
        (
            "hosts",
            f"{found.hosts:,}",
            f"the most of {found.hosts_for_memory:,} for memory ({found.fits_memory:,} replicas"
            f" each), {found.hosts_for_start:,} for the start ({found.fits_probe:,} each),"
            f" {found.hosts_for_cpu:,} for the requests",
        ),
        (
            "memory of all replicas",
            f"{found.memory / MIB_A_GIB:,.1f} GiB",
            f"{wanted.replicas:,} x {replica.private:.0f} MiB"
            f" + {found.hosts:,} x {replica.common:.0f} MiB shared on each host",
        ),
        (
            "all ready, if all start at once",
            f"{found.start_seconds:.0f} s" + (", too late" if late else ""),
            f"{spread:,} replicas a host on {wanted.cores} cores; the probe allows"
            f" {wanted.probe:g} s",
        ),
        *_rates(measured, wanted, found),
    ]


def _no_way(measured: Measured, wanted: Deployment, found: Answer) -> Row:
    replica = cost_of(measured, preloaded=wanted.preloaded)
    if not found.fits_memory:
        need = (replica.private + replica.common) / MIB_A_GIB
        return ("hosts", "no host holds it", f"one replica needs {need:.2f} GiB")
    return (
        "hosts",
        "none starts in time",
        f"a lone replica needs {measured.alone.start_cpu:.1f} s, the probe allows"
        f" {wanted.probe:g} s",
    )


def _rates(measured: Measured, wanted: Deployment, found: Answer) -> list[Row]:
    request = measured.request
    one = replica_rate(request, wanted.threads, wanted.call_seconds)
    sent = found.offered * request.calls * MINUTE
    return [
        (
            "requests the replicas could answer",
            f"{found.offered:,.1f} a second",
            f"{wanted.replicas:,} x {one:.2f}: {wanted.threads} threads, {request.calls:.1f} calls"
            f" of {wanted.call_seconds:g} s, {request.cpu:.2f} CPU s",
        ),
        _quota(wanted, found, sent),
        _boundary(found),
        _price(measured, wanted, found),
    ]


def _quota(wanted: Deployment, found: Answer, sent: float) -> Row:
    what = "requests your provider lets through"
    if math.isinf(found.allowed):
        return (what, "no quota typed in", f"the replicas would send {sent:,.0f} calls a minute")
    limits = [
        f"{number:,.0f} {name} a minute"
        for number, name in (
            (wanted.requests_per_minute, "calls"),
            (wanted.tokens_per_minute, "tokens"),
        )
        if number
    ]
    share = 1 - found.allowed / found.offered
    fits = (
        "enough for all of them"
        if share <= 0
        else f"{share:.1%} of what they could send is refused"
    )
    return (what, f"{found.allowed:,.1f} a second", f"{' and '.join(limits)}; {fits}")


def _boundary(found: Answer) -> Row:
    if math.isinf(found.most_in_quota):
        return ("first 429", "-", "needs a quota")
    if not found.most_in_quota:
        return ("first 429", "with one replica", "one busy replica asks for more than the quota")
    return (
        "first 429",
        f"from replica {found.most_in_quota + 1:,.0f} on",
        f"{found.most_in_quota:,.0f} busy replicas stay below the quota",
    )


def _price(measured: Measured, wanted: Deployment, found: Answer) -> Row:
    request = measured.request
    tokens = f"{request.prompt_tokens:.0f} prompt and {request.completion_tokens:.0f} completion"
    if not found.price:
        return ("price of a request", "-", f"{tokens} tokens; type in your provider's price")
    hour = found.price * found.answered * 3600
    return (
        "price of a request",
        f"{found.price:.6f}",
        f"{tokens} tokens at {wanted.prompt_price:g} and {wanted.completion_price:g} a million;"
        f" {hour:,.2f} an hour at {found.answered:,.1f} requests a second",
    )


def assumptions(measured: Measured, wanted: Deployment) -> list[Row]:
    """Give what the results take for granted, and what happens where it is not so.

    Args:
        measured: what one replica and one request cost.
        wanted: what is to be deployed.
    """
    kind = (
        "all replicas of a host are forked from one parent"
        if wanted.preloaded
        else "each replica imports CrewAI itself"
    )
    return [
        (
            "Memory is linear: every replica has as much of its own as the one measured.",
            "Leaks (chapter 07), larger inputs and other thread counts need another measurement;"
            f" measured with {measured.threads} threads.",
        ),
        (
            f"One image, one app; {kind}.",
            "Containers that share no parent cannot be preloaded together.",
        ),
        (
            f"All hosts are alike: {wanted.cores} cores, {wanted.memory:g} GiB, all of it yours.",
            "A cluster keeps some of both for itself. Leave room.",
        ),
        (
            "A core of the host is as fast as one here, and no limit takes it away.",
            "A CPU limit of half a core makes each start twice as long.",
        ),
        (
            "All start at once, each on one core, and share the cores evenly.",
            "A roll-out in steps (maxSurge) starts fewer at a time.",
        ),
        (
            "Ready is a replica that has imported the app.",
            "Its first request imports more, some half a second. A probe may ask for that, too.",
        ),
        (
            "Every replica is busy all the time: there is always a request waiting.",
            "With fewer customers the quota lasts longer, and replicas idle.",
        ),
        (
            "The quota belongs to the organisation, not to the replica, and counts calls and"
            " tokens by the minute.",
            "Each further service with the same key takes its share of it.",
        ),
        (
            "Nobody tries again after a 429.",
            "Retries count against the quota as well (chapter 05).",
        ),
        (
            f"A call takes {wanted.call_seconds:g} s however many are in flight.",
            "A provider under load is slower; then fewer requests are answered.",
        ),
        (
            "Tokens are those of the local model, four characters each.",
            "Your provider counts otherwise; each of its answers says how many (usage).",
        ),
    ]


def figures_as_text(measured: Measured) -> str:
    """Set the measured figures as text."""
    return table([FIGURES, *figures(measured)])


def figures_as_html(measured: Measured) -> str:
    """Set the measured figures as HTML."""
    return _html(FIGURES, figures(measured), f"Measured here: {measured.app}")


def results_as_text(measured: Measured, wanted: Deployment) -> str:
    """Set results and assumptions as text."""
    parts = [
        title(wanted),
        table([RESULTS, *results(measured, wanted)]),
        "",
        table([ASSUMPTIONS, *assumptions(measured, wanted)]),
    ]
    return "\n".join(parts)


def results_as_html(measured: Measured, wanted: Deployment) -> str:
    """Set results and assumptions as HTML."""
    return _html(RESULTS, results(measured, wanted), title(wanted)) + _html(
        ASSUMPTIONS, assumptions(measured, wanted), "What this takes for granted"
    )


def title(wanted: Deployment) -> str:
    """Say in one line what is worked out."""
    how = "preloaded" if wanted.preloaded else "each importing CrewAI"
    return (
        f"{wanted.replicas:,} replica{'s' * (wanted.replicas != 1)} x {wanted.threads}"
        f" thread{'s' * (wanted.threads != 1)}, {how}: worked out, not measured"
    )


def _html(columns: Row, rows: list[Row], caption: str) -> str:
    cells = [[escape(cell) for cell in row] for row in rows]
    return varies(html_table(columns, cells, caption))
