"""Ledgers survive a kill; figures and the report say what the ledger says."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests.judge.bounds import Check
from loadtests.judge.figures import latency, pause, percentile
from loadtests.judge.outcome import Mark
from loadtests.judge.watch import Sample
from loadtests.show.charts import charts, close_ups, per_bucket
from loadtests.show.report import flat, page
from loadtests.show.svg import Limit, Series, chart, round_up
from loadtests.traffic.ledger import Attempt, Delivery, Fact, Ledger, Outcome, merged, read_ledgers
from loadtests.traffic.profiles import Bounds


def delivery(number: int, at: float, ms: float, outcome: Outcome = Outcome.ACKNOWLEDGED) -> Delivery:
    return Delivery(f"m-{number}", "nested", outcome, (Attempt(at, ms, 201),), ms, number, number + 100)


def test_a_delivery_without_its_end_is_cut_off_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.begin("m-1", "nested", None)
    ledger.write(delivery(1, 1.0, 5.0))
    ledger.begin("m-2", "flat", {"alert": {"symbol": "line\u2028separator"}, "order": {}})
    ledger.write(Fact("orders", {"id": 1}, {"status": "CANCELLED"}))
    ledger.close()
    with path.open("a", encoding="utf-8") as file:
        file.write('{"kind": "delivery", "marker": "m-3", "sha')
    first, second, fact = read_ledgers([path])
    assert first == delivery(1, 1.0, 5.0)
    assert isinstance(second, Delivery) and second.outcome is Outcome.CUT_OFF
    assert fact == Fact("orders", {"id": 1}, {"status": "CANCELLED"})


def test_copies_of_a_delivery_become_one() -> None:
    acknowledged, unknown = delivery(1, 1.0, 5.0), delivery(1, 1.0, 9.0, Outcome.UNKNOWN)
    one = merged([unknown, acknowledged, acknowledged])
    assert (one.outcome, one.alert_id, one.order_id) == (Outcome.ACKNOWLEDGED, 1, 101)
    assert len(one.attempts) == 3
    assert one.late_ms == 9.0


def test_copies_that_were_told_different_rows_agree_with_none() -> None:
    one = merged([delivery(1, 1.0, 5.0), delivery(2, 1.0, 5.0)])
    assert one.outcome is Outcome.ACKNOWLEDGED
    assert one.order_id is None


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([1.0, 2.0], 1.0) == 2.0


def test_a_pause_shows_as_a_gap_and_as_a_wait() -> None:
    steady = [delivery(n, n * 0.1, 10.0) for n in range(100)]
    held = [d for d in steady if not 5.0 < d.attempts[0].at < 5.4] + [delivery(500, 5.1, 400.0)]
    seen = pause(held, 4.9, 5.3)
    assert seen.gap == pytest.approx(400.0, abs=15)
    assert seen.wait == 400.0
    inside = pause(held, 5.15, 5.16)
    assert inside.gap == seen.gap, "a gap counts that began before the moment and ended after it"
    calm = pause(held, 1.0, 3.0)
    assert calm.gap == pytest.approx(100.0, abs=5)
    assert calm.wait == 10.0


def test_latency_of_a_stretch_counts_what_began_in_it() -> None:
    times = latency([delivery(n, float(n), float(n)) for n in range(10)], 2.0, 7.0)
    assert (times.p50, times.p99, times.worst) == (4.0, 6.0, 6.0)


def test_buckets_hold_what_ended_in_them_and_say_nothing_where_nothing_did() -> None:
    points = [(0.1, 5.0), (0.2, 7.0), (2.5, 1.0), (9.0, 9.0)]
    assert per_bucket(points, 3.0, 1.0, lambda v: max(v, default=None)) == [
        (0.5, 7.0),
        (1.5, None),
        (2.5, 1.0),
    ]


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1.0), (0.3, 0.5), (1, 1), (1.01, 2), (230, 250), (7000, 10000)]
)
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)


def test_a_chart_is_well_formed_whatever_its_names_hold() -> None:
    drawn = chart("a < b & c", "ms", [Series("x<y", [(0, 1), (1, None), (2, 3)])], [Mark("<cut>", 0, 1)], 2.0)
    tree = ElementTree.fromstring(drawn)
    assert tree.attrib["aria-label"] == "a < b & c"
    (line,) = tree.iter("path")
    assert line.attrib["d"].count("M") == 2, "a missing value breaks the line"


def test_names_of_short_phases_do_not_cover_each_other() -> None:
    marks = [Mark(f"a phase with a name {n}", n * 0.1, n * 0.1 + 0.05) for n in range(6)]
    drawn = chart("t", "ms", [], marks, 100.0)
    boxes = [
        (float(text.attrib["x"]), float(text.attrib["y"]), len(text.text or ""))
        for group in ElementTree.fromstring(drawn).iter("g")
        for text in group.iter("text")
    ]
    assert len(boxes) == 6
    for number, (x, y, length) in enumerate(boxes):
        for other_x, other_y, other_length in boxes[number + 1 :]:
            assert y != other_y or x + 5 * length < other_x or other_x + 5 * other_length < x


def test_a_name_at_the_right_edge_stays_on_the_drawing() -> None:
    drawn = chart("t", "ms", [], [Mark("the very last phase", 99.9, 100)], 100.0)
    (group,) = ElementTree.fromstring(drawn).iter("g")
    (text,) = group.iter("text")
    assert float(text.attrib["x"]) + 5 * len("the very last phase") <= 960


def test_a_limit_is_on_the_drawing_even_if_all_values_are_far_below() -> None:
    drawn = ElementTree.fromstring(
        chart("t", "ms", [Series("x", [(0, 1), (1, 2)])], [], 2.0, limit=Limit("bound", 50))
    )
    (line,) = (line for line in drawn.iter("line") if line.get("class") == "limit")
    grid = [float(found.attrib["y1"]) for found in drawn.iter("line") if found.get("class") == "grid"]
    assert min(grid) <= float(line.attrib["y1"]) < max(grid)


def test_the_report_is_one_file_that_fetches_nothing() -> None:
    deliveries = [delivery(n, 100 + n * 0.1, 10.0 + n) for n in range(50)]
    samples = [Sample(100 + n * 0.1, "replicating", "sqlite", 1, n, n / 100) for n in range(50)]
    marks = [Mark("cutover", 1, 2), Mark("switch 1: 40 ms", 1.5, 1.54, strong=True)]
    drawings = charts(deliveries, samples, marks, 100.0, Bounds(p99_ms=1500))
    near = close_ups(deliveries, samples, marks, 100.0)
    assert len(near) == 1, "one for each switch"
    assert near[0].count("<circle") == sum(0 < n * 0.1 + (10 + n) / 1000 < 3.03 for n in range(50))
    rows = flat({"answer_ms": {"p99": 1234.5}, "profile": "steady", "left out": []})
    assert rows == [("answer ms p99", 1234.5), ("profile", "steady")]
    good = Check("pause", 40.0, 250.0, "ms", "the <promise>")
    held = page("T", ["why"], [], [good], rows, {"Over time": drawings, "Near": near})
    assert "1,234" in held or "1,235" in held
    assert "</h1>" in held and ">held</span></h1>" in held
    assert "the &lt;promise&gt;" in held
    assert all(word not in held for word in ("http:", "https:", "<script", "<link", "@import", "url("))
    assert held.count("<svg") == len(drawings) + len(near) == 6
    for problems, measured in ((["no answer"], 40.0), ([], 251.0)):
        shown = page("T", [], problems, [Check("pause", measured, 250.0, "ms", "")], [], {})
        assert "did not hold" in shown
