"""Rules: the first that matches counts, and what is said of them is what is done."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from node.config import Settings
from node.config_file import load_settings
from node.config_rules import RuleSettings
from node.errors import ConfigInvalid
from node.routing import Facts, by_kind, decide, explain, is_challengers

DEFAULTS = {"pacs": ("report",)}
NOON = datetime.fromisoformat("2026-11-23 12:00")
TITLES, PEERS, MODALITIES = ["CXR", "NIGHT"], ["pacs", "room-1"], ["CR", "DX"]
PLACES = ["NORTH WING", "SOUTH WING", "RX1", "RX10", "[A]"]
HOURS = ["20:00-06:00", "11:00-13:00"]


def _some(values: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def facts(**changes: Any) -> Facts:
    known: dict[str, Any] = {"called_aet": "CXR", "peer": "pacs", "completed_at": NOON}
    return Facts(**{**known, **changes})


FACTS = st.builds(
    Facts,
    st.sampled_from([*TITLES, ""]),
    st.sampled_from([*PEERS, ""]),
    st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2026-12-31")),
    st.frozensets(st.sampled_from(MODALITIES)),
    st.frozensets(st.sampled_from(PLACES)),
    st.frozensets(st.sampled_from(PLACES)),
    st.frozensets(st.sampled_from(["CHEST", "THORAX"])),
)
RULES = st.lists(
    st.builds(
        RuleSettings,
        name=st.uuids().map(lambda one: one.hex),
        called_aet=_some(TITLES),
        peers=_some(PEERS),
        hours=_some(HOURS),
        modalities=_some(MODALITIES),
        institution=_some(["*wing", "north*"]),
        station=_some(["rx?", "RX1"]),
        body_part=_some(["CHEST"]),
        draft=st.booleans(),
        shadow=st.booleans(),
        priority=st.sampled_from(["routine", "stat"]),
        send=st.sampled_from([None, {}, {"pacs": ("findings",)}]),
    ),
    max_size=5,
)


@given(RULES, FACTS, st.booleans())
def test_what_is_explained_is_what_is_done(
    rules: list[RuleSettings], study: Facts, shadow: bool
) -> None:
    told, route = explain(rules, study), decide(rules, study, DEFAULTS, shadow=shadow)
    assert [one.name for one in told] == [rule.name for rule in rules]
    assert [one.name for one in told if one.matched] == ([route.rule] if route.rule else [])
    assert all(bool(one.why_not) != one.matched for one in told)
    assert route.is_shadow or not shadow


@given(RULES, RULES, FACTS)
def test_rules_after_the_one_that_matches_change_nothing(
    rules: list[RuleSettings], more: list[RuleSettings], study: Facts
) -> None:
    route = decide(rules, study, DEFAULTS)
    if route.rule:
        assert decide([*rules, *more], study, DEFAULTS) == route
    else:
        assert decide([*rules, *more], study, DEFAULTS) == decide(more, study, DEFAULTS)


@given(FACTS)
def test_a_rule_without_conditions_matches_everything(study: Facts) -> None:
    assert decide([RuleSettings(name="all", send={})], study, DEFAULTS).send == {}
    assert decide([], study, DEFAULTS).send == DEFAULTS


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("rx1", True), ("RX?", True), ("rx??", False), ("*1", True), ("R", False), ("[R]X1", False)],
)
def test_wildcards_match_whole_values_and_no_case(pattern: str, matches: bool) -> None:
    rule = RuleSettings(name="station", station=(pattern,))
    assert bool(decide([rule], facts(stations=frozenset({"RX1"})), {}).rule) is matches


@given(st.text(alphabet="AB", max_size=64), st.text(alphabet="*?AB", min_size=1, max_size=64))
def test_no_pattern_takes_long(value: str, pattern: str) -> None:
    rule = RuleSettings(name="slow", institution=(pattern,))
    decide([rule], facts(institutions=frozenset({value})), {})


def test_why_not_names_every_condition_and_no_value_of_the_header() -> None:
    rule = RuleSettings(name="x", peers=("room-1",), institution=("NORTH*",), modalities=("DX",))
    (told,) = explain([rule], facts(institutions=frozenset({"DOE^JOHN"})))
    assert told.why_not == (
        "the sender is not room-1; the modality is not DX; the institution is not NORTH*"
    )


@given(st.lists(st.text(min_size=1, max_size=64), unique=True), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_takes_the_same_studies_and_more(
    uids: list[str], one: float, other: float
) -> None:
    small, large = sorted((one, other))
    for uid in uids:
        assert not is_challengers(uid, small) or is_challengers(uid, large)
        assert is_challengers(uid, 1.0)
        assert not is_challengers(uid, 0.0)


def test_the_share_is_the_part_of_the_studies() -> None:
    num_taken = sum(is_challengers(f"1.2.3.{number}", 0.3) for number in range(10_000))
    assert 2850 < num_taken < 3150


@given(
    st.dictionaries(st.sampled_from(PEERS), _some(["report", "pdf"])),
)
def test_sent_by_kind_says_the_same(send: dict[str, tuple[str, ...]]) -> None:
    turned = by_kind(send)
    pairs = {(name, kind) for name, kinds in send.items() for kind in kinds}
    assert {(name, kind) for kind, names in turned.items() for name in names} == pairs


def test_what_rules_name_must_be_there_and_each_fault_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "peers:\n"
        "  pacs: {ae_title: PACS, host: h, port: 104}\n"
        "outputs:\n"
        "  rules:\n"
        "    - name: a\n"
        "      peers: [pacs, nobody]\n"
        "      called_aet: [OTHER]\n"
        "      bundle: b\n"
        "      send:\n"
        "        pacs: [hl7]\n"
        "        hl7: [hl7]\n"
        "        elsewhere: []\n"
        "    - name: a\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(path, {})
    assert [str(one).split(" (hint")[0] for one in caught.value.problems] == [
        "config.yaml:6: outputs.rules[0].peers[1]: there is no peer nobody",
        "config.yaml:7: outputs.rules[0].called_aet[0]: OTHER is none of node.ae_titles",
        "config.yaml:8: outputs.rules[0].bundle: there is no second bundle: set engine.challenger",
        "config.yaml:10: outputs.rules[0].send.pacs[0]: "
        "pacs takes report, findings, synthetic, counterfactual, heatmap, pdf",
        "config.yaml:11: outputs.rules[0].send.hl7: hl7 has no address: set outputs.hl7.host",
        "config.yaml:12: outputs.rules[0].send.elsewhere: "
        "there is no destination elsewhere; there are pacs, stow, hl7, fhir",
        "config.yaml:13: outputs.rules[1].name: another rule is called a",
    ]


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"name": "x", "hours": ["25:00-26:00"]}, "hours[0]"),
        ({"name": "x", "station": ["a\\b"]}, "station[0]"),
        ({"name": "x", "modalities": ["dx"]}, "modalities[0]"),
        ({"name": "x", "institutoin": ["a"]}, "institutoin"),
        ({"name": "x\ny"}, "name"),
        ({"name": "x", "send": {"pacs": ["novel"]}}, "send.pacs[0]"),
    ],
)
def test_a_bad_condition_is_a_fault_at_its_place(
    tmp_path: Path, rule: dict[str, Any], place: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"outputs": {"rules": [rule]}}))
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(path, {})
    assert f"outputs.rules[0].{place}" in {problem.path for problem in caught.value.problems}


def test_settings_without_a_file_are_checked_as_well() -> None:
    with pytest.raises(ValueError, match="there is no peer nobody"):
        Settings.model_validate({"outputs": {"rules": [{"name": "x", "peers": ["nobody"]}]}})
