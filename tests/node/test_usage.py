"""The usage report: sums, percentiles and intervals, and what `cxr-node` prints of them."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.app import Node
from node.cli import main
from node.feedback import Feedback
from node.journey import Journey
from node.records import Stage
from node.reviews import Reviews
from node.usage import LATENCY, Shares, Spread, Sums, uptime, verdicts_of, wilson
from node.usage_page import as_csv, as_html, plot
from node.usage_reader import UsageReader
from tests.films import phantom
from tests.node.conftest import Pacs, send, wait_for, wait_for_state
from tests.node.planted import films, traces

INTERVALS = st.lists(
    st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda two: (min(two), max(two))),
    max_size=20,
)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_holds_the_share(hits: int, more: int) -> None:
    total = hits + more
    low, high = wilson(hits, total)
    assert 0 <= low <= hits / total <= high <= 1
    wider = wilson(hits * 4, total * 4)
    assert wider[1] - wider[0] < high - low


def test_the_interval_is_that_of_the_books() -> None:
    low, high = wilson(81, 263)  # Newcombe, Statistics in Medicine 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_are_durations_that_there_were(values: list[float]) -> None:
    spread = Spread.of(values)
    found = [spread.percentiles[rank] for rank in (50, 90, 95, 99)]
    assert found == sorted(found)
    assert set(found) <= {round(value, 3) for value in values}
    below = sum(round(value, 3) <= found[0] for value in values)
    assert below >= math.ceil(len(values) / 2)


@given(INTERVALS)
def test_uptime_is_a_share_and_overlaps_count_once(waits: list[Any]) -> None:
    found = uptime(waits, 20.0, 80.0)
    assert 0 <= found <= 1
    assert uptime(waits + waits, 20.0, 80.0) == found
    assert uptime([*waits, (0.0, 100.0)], 20.0, 80.0) == pytest.approx(0)


def test_uptime_of_a_destination_that_was_away_for_a_quarter() -> None:
    assert uptime([(0, 25), (10, 20)], 0, 100) == 0.75
    assert uptime([], 5, 5) == 1


def test_bundles_can_be_compared() -> None:
    rows = [("a 1", "accept")] * 3 + [("a 1", "reject")] + [("b 2", "edit")]
    found = verdicts_of(rows)
    assert found["a 1"].counts == {"accept": 3, "edit": 0, "reject": 1}
    assert found["a 1"].accepted == 0.75
    assert found["b 2"] == Shares.of({"accept": 0, "edit": 1, "reject": 0})


def journey(*names: str, detail: str = "") -> Journey:
    stages = [Stage(name, 10.0 + at, detail) for at, name in enumerate(names)]
    return Journey("key", 1, "DONE", "pacs", 1.0, 9.0, stages)


def test_a_revision_by_a_reader_is_no_measure_of_speed() -> None:
    sums = Sums()
    sums.add(journey("revised", "ready", "claimed", "drafted", "sent"))
    assert sums.durations == {}
    assert sums.outcomes == {"drafted": 1}
    sums.add(journey("received", "ready", "claimed", "drafted", "sent", detail="report to pacs"))
    assert sums.durations[LATENCY] == [5.0]
    assert next(iter(sums.spreads())) == LATENCY


@pytest.mark.filterwarnings("ignore")
def test_a_report_on_what_passed(start_node: Callable[..., Node], pacs: Pacs) -> None:
    node = start_node()
    good = next(films())
    send(node, *films())
    wait_for_state(node, good, "DONE")
    wait_for(lambda: "RUNNING" not in str(node.journal.studies()))
    database = node._database
    verdict = Feedback(str(good.StudyInstanceUID), 1, "accept", (), "reader", node._clock.now())
    Reviews(database).keep(verdict)
    now = node._clock.now()
    usage = UsageReader(database).read(now - 3600, now + 3600)
    assert usage.num_images >= 4
    assert usage.outcomes["drafted"] >= 1
    assert usage.reasons["skipped"]
    assert usage.verdicts["fake 1"].counts["accept"] == 1
    assert usage.ways["pacs"].counts["sent"] >= 1
    assert usage.ways["pacs"].uptime == 1
    assert 0 < usage.seconds[LATENCY].percentiles[50] < 30
    assert {"receive", "complete", "draft", "draft: decode"} <= set(usage.seconds)
    for text in (as_html(usage), as_csv(usage), json.dumps(usage.as_json())):
        assert not traces(text.encode())
        assert not re.search(r"\d+\.\d+\.\d+\.\d+\.\d", text)
    rows = list(csv.DictReader(io.StringIO(as_csv(usage))))
    assert {"section", "name", "figure", "value"} == set(rows[0])
    assert ("verdicts", "accepted_low") in {(row["section"], row["figure"]) for row in rows}


def test_the_plot_is_a_picture_of_its_own_with_a_bar_a_day() -> None:
    days = {f"2026-11-{day:02}": {"drafted": day, "failed": 1} for day in range(1, 11)}
    svg = re.search(r"<svg.*</svg>", plot(days))
    assert svg is not None
    tree = ElementTree.fromstring(svg[0])
    assert len(tree) == 30
    assert all(0 <= float(bar.attrib["y"]) <= 180 for bar in tree)
    assert "No study" in plot({})


def run(config: Path, *words: str) -> int:
    return main([words[0], "-c", str(config), *words[1:]])


def test_the_verb_prints_a_table_json_csv_and_a_page(
    start_node: Callable[..., Node], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node, ds = start_node(), phantom("sum")
    send(node, ds)
    wait_for_state(node, ds, "DONE")
    config = tmp_path / "config.yaml"
    config.write_text(f"node: {{storage: {{root: {node.settings.node.storage.root}}}}}\n")
    assert run(config, "report") == 0
    assert "drafted" in capsys.readouterr().out
    assert run(config, "report", "--json") == 0
    assert json.loads(capsys.readouterr().out)["outcomes"] == {"drafted": 1}
    assert run(config, "report", "--csv", "--until", "2020-01-01") == 0
    assert "received,studies,count,0" in capsys.readouterr().out
    page = tmp_path / "report.html"
    assert run(config, "report", "--html", str(page)) == 0
    assert capsys.readouterr().out == ""
    assert "<svg" in page.read_text()
    assert "http" not in page.read_text()
    assert run(config, "report", "--since", "yesterday") == 1
    assert "2026-11-01" in capsys.readouterr().err
