"""Prompts with the parts of a study: what goes in comes out, and nothing passes for another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import check_format, open_bundle, read_manifest
from engine.errors import BundleIncompatible
from engine.pipeline import Engine
from engine.prompts import RESPONSE, STYLES, PromptBuilder
from engine.results import Provenance
from engine.study_input import (
    FRONTAL_ONLY,
    HEADINGS,
    Part,
    StudyInput,
    inputs_of,
    one_line,
    previous_text,
)

STUDY = "alpaca-study-1"
WITHOUT_PARTS = [name for name, style in STYLES.items() if not style.has_parts]
GOLDEN = {
    "alpaca-1": "affabfbe90330536058984811aa7a8dcacef4de532f07e51ad387579b93a424e",
    "alpaca-compact-1": "01043cca13aac436a550a8ed458ea47af4350e2b3803b87350f8020466efceb6",
}
"""SHA-256 of the ids that the demo's tokenizer gave before prompts knew parts."""
PROMPTS = PromptBuilder.of(open_bundle())

codes = st.lists(st.integers(0, 1023), min_size=256, max_size=256)
texts = st.text(st.characters(codec="utf-8"), max_size=60)
studies = st.builds(StudyInput, codes, st.none() | codes, texts, texts)


def of_style(version: str) -> PromptBuilder:
    return replace(PROMPTS, version=version)


@pytest.mark.parametrize("version", GOLDEN)
def test_prompts_without_parts_are_those_of_before(version):
    style = of_style(version)
    made = [
        style.about_image("Report.", range(256)),
        style.about_image("Report.", range(256), "Likely findings: edema."),
        style.about_text("A", "b"),
        style.about_text("A"),
        style.drawing("x", "y"),
    ]
    assert hashlib.sha256(json.dumps(made).encode()).hexdigest() == GOLDEN[version]


@pytest.mark.parametrize("version", WITHOUT_PARTS)
@given(study=studies, context=texts)
def test_a_style_without_parts_shows_the_film_and_the_findings_alone(version, study, context):
    style, whole = of_style(version), replace(study, context=context)
    prompt = style.fitting("Report.", whole, room=0)
    assert prompt.ids == style.about_image("Report.", study.frontal, context)
    assert prompt.inputs == FRONTAL_ONLY


def parse(ids: list[int]) -> tuple[dict[str, str], list[list[int]]]:
    """Read a prompt back: what stands under each heading, and the codes of its images."""
    vocabulary, text, images = PROMPTS.vocabulary, [], []
    run: list[int] = []
    for token in ids:
        if token not in vocabulary.image_range:
            run.append(token)
            continue
        if run:
            text.append(PROMPTS.tokenizer.decode(run, skip_special_tokens=False))
            images.append([])
            run = []
        images[-1].append(token - vocabulary.num_text)
    text.append(PROMPTS.tokenizer.decode(run, skip_special_tokens=False))
    body = "codes".join(text).split("\n\nInput:\n", 1)[1]
    block, _, after = body.partition(f"\n\n{RESPONSE}")
    assert not after
    lines = (line.partition(": ") for line in block.split("\n"))
    return {heading: value for heading, _, value in lines}, images


@given(study=studies)
def test_what_a_prompt_holds_can_be_read_back(study):
    prompt = of_style(STUDY).fitting("Report.", study, room=100_000)
    lines, images = parse(prompt.ids)
    assert list(lines) == [HEADINGS[part] for part in prompt.inputs]
    assert prompt.inputs == study.parts
    for part in (Part.INDICATION, Part.PREVIOUS_REPORT):
        told = lines.get(HEADINGS[part], "")
        assert (
            told.split()
            == PROMPTS.tokenizer.decode(
                PROMPTS.text_ids(getattr(study, part)), skip_special_tokens=False
            ).split()
        )
    shown = [study.frontal] + ([study.lateral] if study.lateral else [])
    assert images == shown


@given(text=st.text())
def test_no_text_can_pass_for_another_part_or_for_an_end(text):
    line = one_line(text)
    assert line.isprintable()
    assert line == line.strip()
    assert not any(mark in line for mark in ("##", "<|", "|>"))
    assert one_line(line) == line


@given(study=studies, room=st.integers(0, 900))
def test_parts_are_left_out_whole_and_in_their_order(study, room):
    style = of_style(STUDY)
    prompt = style.fitting("Report.", study, room)
    gone = [part for part in study.spare if part not in prompt.inputs]
    assert gone == list(study.spare[: len(gone)])
    assert Part.FRONTAL in prompt.inputs
    if len(prompt.ids) > room:
        assert prompt.inputs == FRONTAL_ONLY
    if gone:
        fuller = study
        for part in gone[:-1]:
            fuller = fuller.without(part)
        assert len(style.about_study("Report.", fuller)) > room


def test_a_lateral_film_alone_stays(tmp_path):
    study = StudyInput((), range(256), "cough", "clear")
    assert of_style(STUDY).fitting("Report.", study, 0).inputs == (Part.LATERAL,)


def test_the_order_of_the_parts_does_not_depend_on_who_names_them():
    assert inputs_of(["lateral", "frontal", "indication"]) == (
        Part.INDICATION,
        Part.FRONTAL,
        Part.LATERAL,
    )
    assert previous_text("Clear.", " ") == "Findings: Clear."


@pytest.mark.parametrize(
    ("inputs", "style", "said"),
    [
        (["frontal", "smell"], STUDY, "unknown inputs"),
        (7, STUDY, "unknown inputs"),
        (["lateral"], STUDY, "lack the frontal film"),
        (["frontal", "lateral"], "alpaca-1", "cannot hold"),
    ],
)
def test_a_bundle_with_inputs_that_cannot_be_is_refused(inputs, style, said):
    manifest = read_manifest(open_bundle().directory / "bundle.json")
    manifest |= {"inputs": inputs, "prompt_version": style}
    with pytest.raises(BundleIncompatible, match=said):
        check_format(manifest)


def test_a_record_of_an_earlier_version_tells_of_a_frontal_film():
    record = Provenance("demo", "1", "0", "1", "cpu", None, 1.0).as_json()
    del record["inputs"]
    assert Provenance.from_json(record).inputs == ("frontal",)


def study_bundle(tmp_path: Path, *inputs: str) -> Path:
    """Return the demo bundle as if it had been trained with parts of a study."""
    demo, made = open_bundle().directory, tmp_path / "bundle"
    made.mkdir()
    for path in demo.iterdir():
        if path.name != "bundle.json":
            (made / path.name).symlink_to(path)
    manifest = read_manifest(demo / "bundle.json") | {"prompt_version": STUDY}
    (made / "bundle.json").write_text(json.dumps(manifest | {"inputs": ["frontal", *inputs]}))
    return made


def test_the_engine_uses_the_parts_that_its_bundle_knows_and_says_so(tmp_path):
    engine = Engine.load(study_bundle(tmp_path, "indication"), num_threads=1)
    film = np.zeros((1, 256, 256), np.float32)
    given = {"lateral": film, "indication": "Cough.", "previous_report": "Clear."}
    draft = engine.report(film, **given)
    assert draft.provenance.inputs == ("indication", "frontal")
    assert draft.provenance.as_json()["inputs"] == ["indication", "frontal"]
    assert engine.ask(film, "Is it clear?").provenance.inputs == ("frontal",)


def test_a_part_without_room_is_left_out_and_the_provenance_says_so(tmp_path):
    engine = Engine.load(study_bundle(tmp_path, "lateral", "indication"), num_threads=1)
    film = np.zeros((1, 256, 256), np.float32)
    draft = engine.report(film, lateral=film, indication="Cough.")
    assert draft.provenance.inputs == ("indication", "frontal")
