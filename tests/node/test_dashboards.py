"""What is shipped for Prometheus and Grafana speaks of metrics that the node has."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from node.cli import main
from node.config import Settings
from node.gauges import GAUGES
from node.meters import METERS
from node.metrics_reference import names, reference

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/cxr-node.json"
RULES = ROOT / "deploy/prometheus/alerts.yaml"
SCRAPE = ROOT / "deploy/prometheus/scrape.yaml"
ELSEWHERE = {"up", "process_resident_memory_bytes"}


def expressions() -> list[str]:
    """Return every expression of the dashboard and of the rules."""
    dashboard = json.loads(DASHBOARD.read_text())
    shown = [one["expr"] for panel in dashboard["panels"] for one in panel["targets"]]
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return shown + [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_is_made_of_metrics_that_the_node_exports(expression: str) -> None:
    named = set(re.findall(r"\bcxr_\w+|\bprocess_\w+|\bup\b", expression))
    assert named
    assert named <= names() | ELSEWHERE


@pytest.mark.parametrize("expression", expressions())
def test_every_label_that_is_asked_for_is_one_of_its_metric(expression: str) -> None:
    labels = {one.name: {*one.labels, "le"} for one in METERS}
    labels |= {one.name: set(one.labels) for one in GAUGES}
    for name, asked in re.findall(r"\b(cxr_\w+)\{([^}]*)\}", expression):
        plain = re.sub(r"_(?:bucket|sum|count)$", "", name)
        wanted = set(re.findall(r"(\w+)=", asked)) - {"instance"}
        assert wanted <= labels[plain], name
    known = set().union(*labels.values()) | {"instance"}
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {one.strip() for one in group.split(",")} <= known


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert dashboard["uid"] == "cxr-node"
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_every_rule_says_what_to_do() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "hint"}


def test_the_scrape_asks_where_the_node_serves() -> None:
    (job,) = yaml.safe_load(SCRAPE.read_text())["scrape_configs"]
    metrics = Settings().node.metrics
    assert job["static_configs"] == [{"targets": [f"{metrics.bind}:{metrics.port}"]}]


def test_the_reference_of_metrics_is_current(tmp_path: Path) -> None:
    written = tmp_path / "metrics.md"
    assert main(["metrics", "--describe", "--output", str(written)]) == 0
    assert written.read_text() == (ROOT / "docs/reference/metrics.md").read_text() == reference()


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        assert "CI" not in os.environ, "promtool must be installed in CI"
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", "--syntax-only", str(SCRAPE))


def test_the_rules_fire_when_they_should(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "alerts_test.yaml").read_text()
    cases = tmp_path / "cases.yaml"
    cases.write_text(text.replace("RULES", str(RULES)))
    promtool("test", "rules", str(cases))
