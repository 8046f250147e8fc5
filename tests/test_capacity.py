"""The capacity model on paper: pure figures in, figures out, and the words around them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from crewlab import ContractBroken
from crewlab.capacity.measuring import Reading
from crewlab.capacity.model import (
    Deployment,
    Measured,
    Replica,
    Request,
    allowed_rate,
    answer,
    cost_of,
    fit_in_memory,
    fit_probe,
    memory,
    most_in_quota,
    price_of,
    ready_after,
    replica_rate,
)
from crewlab.capacity.pictures import draw_deployment
from crewlab.capacity.sheet import assumptions, figures, results, results_as_html
from crewlab.capacity.verifying import CPU, MEMORY, READY, START, Pair, Verification
from crewlab.capacity.widget import LABELS, LIMITS, calculator
from crewlab.notebook.show import CellRefused
from crewlab.results.records import ReplicaRecord
from crewlab.results.run import Run
from crewlab.services import Call

REQUEST = Request(cpu=0.1, calls=2, prompt_tokens=300, completion_tokens=100, call_seconds=0.1)
MEASURED = Measured(
    app="report",
    threads=2,
    alone=Replica(private=200, common=40, start_cpu=5),
    preloaded=Replica(private=40, common=250, start_cpu=0.01),
    request=REQUEST,
)
THOUSAND = Deployment(
    replicas=1000, cores=4, memory=16, requests_per_minute=600, tokens_per_minute=1_000_000
)


# --- the model ----------------------------------------------------------------------------------


def test_memory_is_each_replicas_own_and_what_they_share_once_a_host() -> None:
    assert memory(MEASURED.alone, 1) == 240
    assert memory(MEASURED.alone, 10) == 2040
    assert memory(MEASURED.alone, 10, hosts=5) == 2200


@pytest.mark.parametrize("gib", [0.25, 1, 16, 17.5])
@pytest.mark.parametrize("preloaded", [True, False])
def test_a_host_holds_the_most_replicas_that_do_not_exceed_it(gib: float, preloaded: bool) -> None:
    replica = cost_of(MEASURED, preloaded=preloaded)
    most = fit_in_memory(replica, gib)
    assert most == 0 or memory(replica, most) <= gib * 1024
    assert memory(replica, most + 1) > gib * 1024


def test_an_import_takes_one_core_and_more_replicas_than_cores_share_them() -> None:
    assert ready_after(MEASURED, 1, 4, preloaded=False) == 5
    assert ready_after(MEASURED, 4, 4, preloaded=False) == 5
    assert ready_after(MEASURED, 8, 4, preloaded=False) == 10
    assert ready_after(MEASURED, 100, 4, preloaded=False) == 125


def test_forked_replicas_wait_for_their_parent_and_then_hardly_at_all() -> None:
    assert ready_after(MEASURED, 100, 4, preloaded=True) == pytest.approx(5.25)


def test_where_nothing_is_forked_every_replica_imports() -> None:
    spawned = replace(MEASURED, preloaded=None)
    assert cost_of(spawned, preloaded=True) == spawned.alone
    assert ready_after(spawned, 8, 4, preloaded=True) == 10
    assert fit_probe(spawned, 4, 30, preloaded=True) == fit_probe(spawned, 4, 30, preloaded=False)


@pytest.mark.parametrize("cores", [1, 2, 4, 96])
@pytest.mark.parametrize("probe", [1, 5.1033, 30, 300])
@pytest.mark.parametrize("preloaded", [True, False])
def test_the_probe_lets_the_most_replicas_start_that_are_all_ready_in_time(
    cores: int, probe: float, preloaded: bool
) -> None:
    most = fit_probe(MEASURED, cores, probe, preloaded=preloaded)
    assert most == 0 or ready_after(MEASURED, most, cores, preloaded=preloaded) <= probe
    assert ready_after(MEASURED, most + 1, cores, preloaded=preloaded) > probe


def test_a_replica_waits_on_all_threads_and_computes_on_one() -> None:
    assert replica_rate(REQUEST, 1, 1.0) == pytest.approx(1 / 2.1)
    assert replica_rate(REQUEST, 4, 1.0) == pytest.approx(4 / 2.1)
    assert replica_rate(REQUEST, 128, 1.0) == pytest.approx(1 / 0.1)


def test_the_smaller_of_two_quotas_decides() -> None:
    assert allowed_rate(REQUEST, 600, 0) == pytest.approx(5)  # two calls a request
    assert allowed_rate(REQUEST, 0, 24_000) == pytest.approx(1)  # 400 tokens a request
    assert allowed_rate(REQUEST, 600, 24_000) == pytest.approx(1)
    assert math.isinf(allowed_rate(REQUEST, 0, 0))
    assert math.isinf(allowed_rate(replace(REQUEST, calls=0), 600, 0))


@pytest.mark.parametrize("calls", [10, 500, 100_000])
@pytest.mark.parametrize("threads", [1, 2, 32])
def test_one_replica_more_than_the_quota_feeds_sends_too_much(calls: int, threads: int) -> None:
    wanted = replace(THOUSAND, requests_per_minute=calls, tokens_per_minute=0, threads=threads)
    most = most_in_quota(REQUEST, wanted)
    sent = 60 * REQUEST.calls * replica_rate(REQUEST, threads, wanted.call_seconds)
    assert most * sent <= calls < (most + 1) * sent


@pytest.mark.parametrize("wrong", [{"private": 0}, {"start_cpu": -1}, {"common": -1}])
def test_a_replica_that_costs_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(MEASURED.alone, **wrong)


@pytest.mark.parametrize("wrong", [{"cpu": 0}, {"calls": -1}, {"prompt_tokens": float("nan")}])
def test_a_request_that_costs_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(REQUEST, **wrong)


def test_the_price_is_of_tokens_in_and_out() -> None:
    assert price_of(REQUEST, 2.0, 10.0) == pytest.approx(0.0016)
    assert price_of(REQUEST, 0, 0) == 0


def test_a_thousand_replicas_need_the_hosts_of_whatever_is_short_first() -> None:
    found = answer(MEASURED, THOUSAND)
    assert found.fits_memory == 81
    assert found.fits_probe == 24
    assert (found.hosts_for_memory, found.hosts_for_start) == (13, 42)
    assert found.hosts == 42
    assert found.start_seconds <= THOUSAND.probe
    assert found.memory == 1000 * 200 + 42 * 40
    assert found.answered == found.allowed == pytest.approx(5)
    assert found.hosts_for_cpu == 1
    forked = answer(MEASURED, replace(THOUSAND, preloaded=True))
    assert forked.hosts == forked.hosts_for_memory == 3


def test_without_a_quota_the_processors_decide_how_many_hosts_there_are() -> None:
    wanted = replace(
        THOUSAND, requests_per_minute=0, tokens_per_minute=0, threads=32, call_seconds=0.1
    )
    found = answer(MEASURED, wanted)
    assert found.answered == found.offered == pytest.approx(10_000)
    assert found.hosts == found.hosts_for_cpu == 250


@pytest.mark.parametrize("change", [{"memory": 0.2}, {"probe": 4.0}])
def test_where_not_even_one_replica_fits_there_is_no_number_of_hosts(change: Any) -> None:
    wanted = replace(THOUSAND, **change)
    assert answer(MEASURED, wanted).hosts == 0
    what, result, how = results(MEASURED, wanted)[0]
    assert what == "hosts"
    assert not any(letter.isdigit() for letter in result)
    assert "needs" in how


# --- the words ----------------------------------------------------------------------------------


def test_every_figure_says_where_it_comes_from_and_tokens_that_they_are_simulated() -> None:
    rows = figures(MEASURED)
    assert all(value and source for _, value, source in rows)
    assert all("simulated" in source for what, _, source in rows if "tokens" in what)
    assert not any("preloaded" in row[0] for row in figures(replace(MEASURED, preloaded=None)))


def test_the_price_is_never_made_up() -> None:
    asked = results(MEASURED, THOUSAND)[-1]
    assert asked[1] == "-"
    assert "type in your provider's price" in asked[2]
    paid = results(MEASURED, replace(THOUSAND, prompt_price=2.0, completion_price=10.0))[-1]
    assert paid[1] == "0.001600"
    assert "28.80 an hour" in paid[2]


def test_the_results_name_the_first_replica_that_is_refused() -> None:
    said = dict((what, result) for what, result, _ in results(MEASURED, THOUSAND))
    assert said["first 429"] == "from replica 6 on"
    free = replace(THOUSAND, requests_per_minute=0, tokens_per_minute=0)
    said = dict((what, result) for what, result, _ in results(MEASURED, free))
    assert said["first 429"] == "-"
    small = replace(THOUSAND, requests_per_minute=1)
    said = dict((what, result) for what, result, _ in results(MEASURED, small))
    assert said["first 429"] == "with one replica"


def test_the_results_say_what_part_the_quota_refuses_or_that_it_is_enough() -> None:
    def quota(replicas: int) -> str:
        return results(MEASURED, replace(THOUSAND, replicas=replicas))[4][2]

    assert quota(1000).startswith("600 calls a minute and 1,000,000 tokens a minute; 99.5%")
    assert quota(5).endswith("enough for all of them")
    assert quota(6).endswith("is refused")


def test_each_assumption_says_what_happens_otherwise_and_stands_beside_the_result() -> None:
    rows = assumptions(MEASURED, THOUSAND)
    assert all(assumed and otherwise for assumed, otherwise in rows)
    for word in ("linear", "One image", "4 cores, 16 GiB", "organisation"):
        assert any(word in assumed for assumed, _ in rows), word
    html = results_as_html(MEASURED, THOUSAND)
    assert html.count("<caption") == 2
    assert "worked out, not measured" in html
    assert all(assumed.split(".")[0] in html for assumed, _ in rows)


def test_the_picture_shows_the_limits_that_the_table_names() -> None:
    panels = draw_deployment(MEASURED, THOUSAND).axes
    assert [panel.get_title() for panel in panels] == [
        "memory, GiB",
        "all ready after, s",
        "requests a second",
    ]
    assert [next(iter(panel.lines[1].get_ydata())) for panel in panels] == pytest.approx(
        [16, 30, 5]
    )
    free = replace(THOUSAND, requests_per_minute=0, tokens_per_minute=0)
    assert len(draw_deployment(MEASURED, free).axes[2].lines) == 1


# --- predicted against measured -----------------------------------------------------------------


def reading(replicas: int, *, private: float = 40, calls: int = 2) -> Reading:
    """Give what a run of so many replicas took: by default, what ``MEASURED`` predicts."""
    requests = 2 * MEASURED.threads * replicas
    call = Call(1, "/", 0, 0.1, 200, prompt_tokens=150, completion_tokens=50)
    return Reading(
        run=Run("report", [ReplicaRecord("report-1")], [], 2, "forkserver", 12.5, 1.0),
        private=[private] * replicas,
        common=250,
        proportional=0,
        start_cpu=[5.0] * replicas,
        request_cpu=0.1 * requests / 2,
        calls=[call] * (calls * requests),
    )


def test_what_comes_out_as_predicted_has_no_error() -> None:
    found = Verification(MEASURED, True, 2, {1: reading(1), 4: reading(4)})
    assert {row[-1] for row in found.rows} == {"+0%"}
    assert {pair.what for pair in found.pairs}.isdisjoint({START, READY})
    assert found.expect(within=0.01) == (
        "As expected: memory, calls and tokens of 1, 4 replicas are within 1% of the prediction."
    )
    panels = found.picture().axes
    assert panels[0].get_title() == MEMORY
    assert list(panels[0].lines[0].get_ydata()) == [290, 410]


@pytest.mark.parametrize(
    ("predicted", "measured", "said"),
    [(0, 0, "+0%"), (4, 0, "+inf%"), (99.9, 100, "+0%"), (75, 100, "-25%")],
)
def test_the_error_is_a_part_of_what_was_measured(
    predicted: float, measured: float, said: str
) -> None:
    assert Pair(CPU, 4, predicted, measured).row()[-1] == said


def test_replicas_that_import_are_compared_at_their_start_as_well() -> None:
    found = Verification(MEASURED, False, 2, {4: reading(4)})
    start, ready = (next(p for p in found.pairs if p.what == what) for what in (START, READY))
    assert (start.predicted, start.measured) == (20, 20)
    assert (ready.predicted, ready.measured) == (10, 12.5)
    assert ready.row() == (READY, "4", "10.0", "12.5", "-20%")


@pytest.mark.parametrize(
    ("off", "says"),
    [({"private": 80}, "410 memory, MiB"), ({"calls": 4}, "32 calls to the model")],
)
def test_a_prediction_that_is_far_off_breaks_the_contract(off: Any, says: str) -> None:
    found = Verification(MEASURED, True, 2, {1: reading(1), 4: reading(4, **off)})
    with pytest.raises(ContractBroken, match=says) as broken:
        found.expect()
    assert len(str(broken.value).splitlines()) <= 3


def test_a_busy_machine_breaks_no_contract() -> None:
    slow = replace(reading(4), request_cpu=100.0)
    found = Verification(MEASURED, True, 2, {4: slow})
    assert next(pair for pair in found.pairs if pair.what == CPU).error < -0.9
    assert found.expect()


# --- the calculator without a front end ---------------------------------------------------------


def test_outside_a_notebook_the_calculator_prints_results_and_assumptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    calculator(MEASURED, replicas=1000, requests_per_minute=600)
    said = capsys.readouterr().out
    assert "1,000 replicas x 2 threads" in said
    assert "from replica 6 on" in said
    assert "Memory is linear" in said


def test_every_field_has_a_label_and_numbers_have_limits() -> None:
    names = set(vars(THOUSAND))
    assert set(LABELS) == names
    assert set(LIMITS) == names - {"preloaded"}
    for name in ("prompt_price", "completion_price"):
        assert "your provider's price" in LABELS[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replicas", 0),
        ("replicas", 2.5),
        ("replicas", True),
        ("threads", "2"),
        ("cores", 0),
        ("memory", float("nan")),
        ("probe", None),
        ("requests_per_minute", -1),
        ("prompt_price", float("inf")),
        ("preloaded", 1),
        ("price", 3),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_does(name: str, value: Any) -> None:
    with pytest.raises(CellRefused, match=name) as refused:
        calculator(MEASURED, **{name: value})
    assert len(str(refused.value).splitlines()) <= 3


def test_what_was_not_measured_cannot_be_preloaded() -> None:
    with pytest.raises(CellRefused, match="no replica was forked"):
        calculator(replace(MEASURED, preloaded=None), preloaded=True)


def test_something_that_was_not_measured_is_refused_with_what_to_do() -> None:
    with pytest.raises(CellRefused, match=r"capacity\.measure\(app\)"):
        calculator({"memory": 200})  # type: ignore[arg-type]
