"""Rows on findings: one asked for, some listed, all of them, from labels and report sentences."""

from __future__ import annotations

from collections.abc import Iterator

from engine.findings import FINDINGS
from engine.tasks.registry import Input
from engine.tasks.words import noun, spoken
from training.tasks import mesh
from training.tasks.drafts import LABELS, REPORT, Draft, shuffled, statement
from training.tasks.studies import MESH_FINDINGS, Shelf, Study

SHADOWS = frozenset(
    {"Lung Lesion", "Lung Opacity", "Edema", "Consolidation", "Pneumonia", "Atelectasis"}
)
"""Names for the same shadow: none is a wrong option beside another."""
HEART = frozenset({"Cardiomegaly", "Enlarged Cardiomediastinum"})
PLEURA = frozenset({"Pleural Effusion", "Pleural Other"})
NUM_WRONG = 3
ASKED = tuple(name for name in FINDINGS[1:] if name != "Support Devices")


def coded(study: Study) -> set[str]:
    """Return the findings that human codes name."""
    heads = {code[0] for code in study.codes}
    return {MESH_FINDINGS[head] for head in heads & MESH_FINDINGS.keys()}


def binary_disease(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield yes or no on each finding that is asserted or denied; never against a human code."""
    said = coded(study)
    for asked in study.questions:
        if asked.kind != "presence" or (asked.answer_key == "no" and asked.finding in said):
            continue
        source = REPORT if study.has_report else LABELS
        given = {Input.FINDING: noun(asked.finding)}
        is_there = asked.answer_key == "yes"
        yield Draft((study.film,), asked.answer, is_there, source, given, finding=asked.finding)


def wrong_options(study: Study, count: int) -> list[str]:
    """Return findings that a study does not have: denied ones first, none like one it has."""
    close = set(study.present | study.uncertain) | coded(study)
    for group in (SHADOWS, HEART, PLEURA):
        close |= group if group & close else set()
    free = [name for name in ASKED if name not in close]
    ordered = shuffled(free, study.film.study_id, "wrong options")
    denied = [name for name in ordered if name in study.absent]
    silent = [name for name in ordered if name not in study.absent and study.has_report]
    return unlike([*denied, *silent])[:count]


def unlike(names: list[str]) -> list[str]:
    """Return names of which no two stand for the same shadow."""
    kept: list[str] = []
    for name in names:
        group = next((one for one in (SHADOWS, HEART, PLEURA) if name in one), {name})
        if not group & set(kept):
            kept.append(name)
    return kept


def single_disease(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the question on the one finding that is there, and on the one that is coded."""
    yield from mesh.single_disease(study, shelf)
    found = sorted(study.present - {"Support Devices"})
    if not study.is_frontal or not study.is_settled or len(found) != 1:
        return
    wrong = wrong_options(study, NUM_WRONG)
    if len(wrong) == NUM_WRONG:
        right = statement(noun(found[0]))
        texts = [right, *(statement(noun(name)) for name in wrong)]
        options = tuple(t.rstrip(".") for t in shuffled(texts, study.film.study_id, "single"))
        where = options.index(right.rstrip("."))
        source = REPORT if study.has_report else LABELS
        yield Draft((study.film,), right, where, source, options=options)


def multi_disease(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield the question which of some findings are there; of a normal film, none is."""
    found = sorted(study.present - {"Support Devices"})[:NUM_WRONG]
    known = study.is_settled and (found or study.is_normal)
    wrong = wrong_options(study, NUM_WRONG if found else NUM_WRONG + 1)
    if not study.is_frontal or not known or len(wrong) < 2:
        return
    names = [noun(name) for name in found]
    options = shuffled([*names, *map(noun, wrong)], study.film.study_id, "multi")
    ordered = [option for option in options if option in names]
    response = statement(", ".join(ordered)) if names else "None of these."
    source = REPORT if study.has_report else LABELS
    yield Draft((study.film,), response, frozenset(names), source, options=options)


def disease_list(study: Study, shelf: Shelf) -> Iterator[Draft]:
    """Yield all findings of a study whose report tells of all: published labels do not."""
    if study.is_frontal and study.has_report and study.is_settled:
        told = bool(study.present) or study.is_normal
        if told:
            text = spoken(study.present)
            yield Draft((study.film,), text, study.present, REPORT)
