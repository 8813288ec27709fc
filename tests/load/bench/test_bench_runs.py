"""The benchmark runs in tiny form and writes what the documents are made of; no time is judged."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests.bench import __main__ as bench
from loadtests.bench.lab.lab import TINY, Lab
from loadtests.bench.lab.samples import Samples, Spread
from loadtests.show.headline import PARTS
from loadtests.show.tables import number
from loadtests.stage import sample


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all parts: those that commit in each mode find the databases of the one before."""
    with Lab(TINY, light=True) as made:
        yield made


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", bench.PARTS)
def test_part(
    name: str,
    lab: Lab,
    sample_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # the backends of a run would take themselves for tests
    monkeypatch.setattr(bench, "Lab", lambda *_, **__: nullcontext(lab))
    monkeypatch.setattr(sample, "make", lambda path, **_: shutil.copy(sample_file, path))
    assert bench.main(["--tiny", "--only", name, "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert result["figures"]
    for figure in result["figures"]:
        value = figure["value"]
        assert value["low"] <= value["median"] <= value["high"]
        assert all(math.isfinite(sample) and sample >= 0 for sample in value["samples"])
    assert {"processors", "postgresql", "sqlite", "python"} <= result["machine"].keys()
    assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag.endswith("svg")
    assert result["title"] in capsys.readouterr().out
    assert not [note for note in result["notes"] if "failed, " in note or "aborted" in note]


def test_every_part_has_its_table_in_the_documents() -> None:
    assert list(bench.PARTS) == list(PARTS)


def test_unknown_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--only", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_ratios_are_paired_within_a_repeat() -> None:
    samples = Samples("group", "peer")
    for slow in (1.0, 10.0):  # the second repeat was slow for both
        samples.add("peer", "time", "s", 2.0 * slow)
        samples.add("ours", "time", "s", 1.0 * slow)
    peer, ours = samples.figures()
    assert peer.ratio is None
    assert ours.ratio is not None
    assert ours.ratio.value == Spread(0.5, 0.5, 0.5, (0.5, 0.5))


@pytest.mark.parametrize(("value", "shown"), [(0.01234, "0.0123"), (12.34, "12.3"), (1234567.8, "1,234,568")])
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown
