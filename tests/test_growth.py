"""What replicas held while they served, request by request: the table, the picture, the words."""

from __future__ import annotations

import pytest

from crewlab import ContractBroken, growth
from crewlab.results.records import ReplicaRecord, RequestRecord, Sample
from crewlab.results.run import Run


def served(
    memory: list[float],
    *,
    files: list[int] | None = None,
    starts: list[int] | None = None,
    memory_limit: float | None = None,
) -> Run:
    """Give a run whose one replica was looked at before and after each of its requests."""
    files = files or [9] * len(memory)
    starts = starts or [1] * len(memory)
    samples = [
        Sample(float(second), held, opened, 5, start)
        for second, (held, opened, start) in enumerate(zip(memory, files, starts, strict=True))
    ]
    requests = [
        RequestRecord(n, {}, "ok", replica="app-0", finished=n + 0.5) for n in range(len(memory))
    ]
    replica = ReplicaRecord("app-0", samples=samples)
    return Run("app", [replica], requests, 1, "spawn", 0.0, 1.0, memory_limit=memory_limit)


def test_what_a_request_adds_is_measured_once_the_replica_is_warm() -> None:
    run = served([100, 180, 190, 200, 210, 220, 230])
    [life] = growth(run).lives
    assert life.a_request_adds("memory") == pytest.approx(10)
    assert [point.answered for point in life.points] == [0, 1, 2, 3, 4, 5, 6]


def test_what_requests_in_flight_hold_for_a_while_is_no_growth() -> None:
    busy = served([100, 110, 120, 130, 140, 150, 220, 170, 180])
    [life] = growth(busy).lives
    assert life.a_request_adds("memory") == pytest.approx(10)
    level = served([100, 150, 190, 150, 240, 150, 290, 310, 150])
    [life] = growth(level).lives
    assert life.a_request_adds("memory") == 0


def test_a_fresh_process_starts_from_its_own_beginning() -> None:
    run = served([100, 110, 120, 130, 100, 110], starts=[1, 1, 1, 1, 2, 2])
    [life] = growth(run).lives
    assert [len(points) for points in life.starts] == [4, 2]
    assert life.a_request_adds("memory") == pytest.approx(10)


def test_a_slope_is_a_leak_and_a_level_line_is_none() -> None:
    leak, level = served([100, 120, 140, 160, 180]), served([100, 150, 151, 151, 152])
    assert growth(leak).expect(memory="grows") == "As expected: memory grows with each request."
    assert growth(level).expect(memory="level", files="level", threads="level") == (
        "As expected: memory levels off; open files level off; threads level off."
    )
    with pytest.raises(ContractBroken, match="memory levels off"):
        growth(leak).expect(memory="level")
    with pytest.raises(ContractBroken, match=r"a request adds 0\.50"):
        growth(level).expect(memory="grows")


def test_a_replica_that_answered_nobody_has_not_grown() -> None:
    run = served([100, 200])
    run.requests = []
    assert growth(run).expect(memory="level")
    assert growth(run).rows[0][-1] == "-"


def test_the_table_says_what_the_picture_shows() -> None:
    run = served([100, 120, 140, 160, 180], files=[9, 10, 11, 12, 13], memory_limit=300)
    assert growth(run).rows[:2] == [
        ("app-0", "4", "memory, MiB", "100", "180", "180", "+20.0"),
        ("app-0", "4", "open files", "9", "13", "13", "+1.0"),
    ]
    figure = growth(run).picture()
    assert [axes.get_title() for axes in figure.axes] == ["memory, MiB", "open files", "threads"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [100, 100, 120, 140, 160, 180]
    assert "limit" in [text.get_text() for text in figure.axes[0].texts]


def test_runs_side_by_side_keep_their_names() -> None:
    both = growth({"before": served([1, 2, 3]), "after": served([1, 1, 1])})
    assert both.columns[0] == "run"
    assert [row[0] for row in both.rows] == ["before"] * 3 + ["after"] * 3
    [legend] = both.picture().legends
    assert [text.get_text() for text in legend.get_texts()] == ["before", "after"]


def test_what_the_system_does_not_tell_is_left_out() -> None:
    run = served([100, 110, 120], files=[0, 0, 0])
    assert growth(run).measures == ["memory", "threads"]
    assert "open files" not in str(growth(run))


def test_its_html_is_marked_as_varying() -> None:
    html = growth(served([100, 110]))._repr_html_()
    assert html.startswith("<!--varies-->")
    assert "<caption" in html


def test_what_cannot_be_is_said_in_words() -> None:
    with pytest.raises(TypeError, match="growth\\(\\) needs a run"):
        growth([1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'grows' or 'level'"):
        growth(served([1, 2])).expect(memory="climbs")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="was given nothing"):
        growth(served([1, 2])).expect()
