"""Questions from labels and report sentences, by rules: the same rows on every run, no model.

A report gives presence, side, region, severity and appearance through the labeler's mentions, each
with the sentence it stands in as evidence. A film without a report gives presence from its
published labels. Every study gives one question on the view. Presence is balanced: per split,
source and finding as many yes as no, chosen by hash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from engine.findings import FINDINGS
from engine.labeler import Mention, aggregate, mentions
from engine.tasks.terms import PROJECTION, REGION, SEVERITY, Terms, one_term, terms_in
from engine.tasks.words import NOUNS, Noun, article
from training.catalog import Film
from training.vqa import answers, phrasings
from training.vqa.table import LABELS, RULES, Question, Questions, admit

Ask = Callable[..., Question]

LUNG = frozenset(
    {"Lung Lesion", "Lung Opacity", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax"}
)
SIDED = LUNG | {"Pleural Effusion", "Pleural Other", "Fracture"}
GRADED = frozenset(NOUNS) - {"Fracture", "Support Devices", "Pleural Other", "Pneumonia"}
TEXTURED = frozenset({"Lung Lesion", "Lung Opacity", "Consolidation", "Atelectasis", "Edema"})
BEFORE = 48
PHRASE_BREAK = re.compile(r"[.,;:]|\b(?:and|with|but|or|without)\b")


@dataclass(frozen=True)
class Sighting:
    """A present mention of a finding with the words just before it."""

    mention: Mention
    lead: str

    def texture(self) -> str:
        """Return the one appearance that the words before the mention give, ``""`` for none."""
        return one_term(answers.APPEARANCE, self.lead)

    def severity(self) -> str:
        """Return the severity stated, ``""`` when the sentence names several."""
        return self.unrivalled(self.mention.severity, SEVERITY)

    def region(self) -> str:
        """Return the region stated, ``""`` when the sentence names several."""
        return self.unrivalled(self.mention.region, REGION)

    def unrivalled(self, stated: str | None, family: Terms) -> str:
        """Return a stated term unless its sentence names another of the family."""
        others = len(terms_in(family, self.mention.sentence)) > 1
        return "" if others else stated or ""


def sightings(section: str) -> list[Sighting]:
    """Return the mentions of a section, each with the words of its own phrase before it."""
    return [Sighting(found, lead(section, *found.span)) for found in mentions(section)]


def lead(section: str, start: int, end: int) -> str:
    """Return a mention and the words before it, back to the last break."""
    before = section[max(0, start - BEFORE) : start]
    breaks = [found.end() for found in PHRASE_BREAK.finditer(before)]
    return before[breaks[-1] if breaks else 0 :] + section[start:end]


def agreed(values: Iterable[str], topic: str, dropped: Counter[str]) -> str:
    """Return the one value that all mentions agree on; ``""`` (counted) when they do not."""
    stated = set(filter(None, values))
    if len(stated) > 1:
        dropped[f"{topic} stated in more than one way"] += 1
    return stated.pop() if len(stated) == 1 else ""


def asker(film: Film, source: str) -> Ask:
    """Return a builder of rows on one film."""

    def ask(kind: str, finding: str, question: str, answer: str, key: str, quote: str) -> Question:
        return Question(
            study_id=film.study_id,
            patient_id=film.patient_id,
            image_id=film.image_id,
            split=film.split,
            kind=kind,
            finding=finding,
            question=question,
            answer=answer,
            answer_key=key,
            evidence=quote,
            source=source,
        )

    return ask


def from_report(film: Film, dropped: Counter[str]) -> Iterator[Question]:
    """Yield the questions that a film's cleaned report answers."""
    seen = sightings(film.findings) + sightings(film.impression)
    found = [sighting.mention for sighting in seen]
    states = aggregate(found, f"{film.findings} {film.impression}")
    for name, state in list(zip(FINDINGS, states, strict=True))[1:]:
        if state == 0.0:
            yield absence(film, name, next(m for m in found if m.finding == name and m.state == 0))
        if state == 1.0:
            present = [s for s in seen if s.mention.finding == name and s.mention.state == 1.0]
            yield from about_finding(film, name, present, dropped)


def absence(film: Film, name: str, mention: Mention) -> Question:
    """Return the question on a finding that the report denies."""
    return presence(asker(film, RULES), film, name, mention.sentence.strip(), None)


@dataclass(frozen=True)
class Described:
    """What the mentions of one finding in one report agree on; ``""`` where they do not say."""

    side: str
    region: str
    severity: str
    texture: str


def described(present: list[Sighting], dropped: Counter[str]) -> Described:
    """Merge the mentions of one finding."""
    return Described(
        side=agreed((s.mention.side or "" for s in present), "side", dropped),
        region=agreed((s.region() for s in present), "region", dropped),
        severity=agreed((s.severity() for s in present), "severity", dropped),
        texture=agreed((s.texture() for s in present), "appearance", dropped),
    )


def presence(ask: Ask, film: Film, name: str, quote: str, details: Described | None) -> Question:
    """Return the yes-or-no question on a finding; ``details`` are ``None`` when it is absent."""
    noun = NOUNS[name]
    asked = phrasings.choose(phrasings.PRESENCE, film.study_id, name)
    shown = details or Described("", "", "", "")
    answer = phrasings.presence_answer(
        noun,
        details is not None,
        severity=shown.severity if name in GRADED else "",
        side=shown.side if name in SIDED else "",
        region=shown.region if name in LUNG else "",
    )
    question = asked.format(a_noun=noun.phrase())
    return ask("presence", name, question, answer, "yes" if details else "no", quote)


def about_finding(
    film: Film, name: str, present: list[Sighting], dropped: Counter[str]
) -> Iterator[Question]:
    """Yield the questions on a finding that the report asserts."""
    ask, noun, details = asker(film, RULES), NOUNS[name], described(present, dropped)
    yield presence(ask, film, name, present[0].mention.sentence.strip(), details)
    for kind, topic, asked, key, answer in qualities(name, noun, details):
        quote = next(s for s in present if stated_by(s, topic) == key).mention.sentence.strip()
        chosen = phrasings.choose(asked, film.study_id, f"{name} {topic}")
        yield ask(kind, name, chosen.format(noun=noun.singular), answer, key, quote)


def stated_by(sighting: Sighting, topic: str) -> str:
    """Return what one mention says on a topic."""
    said = {
        "side": sighting.mention.side,
        "region": sighting.region(),
        "severity": sighting.severity(),
        "texture": sighting.texture(),
    }
    return said[topic] or ""


def qualities(
    name: str, noun: Noun, known: Described
) -> Iterator[tuple[str, str, tuple[str, ...], str, str]]:
    """Yield kind, topic, phrasings, key and answer of every quality that is known and askable."""
    graded = phrasings.SIZE if noun.has_size else phrasings.DEGREE
    if name in SIDED and known.side:
        answer = phrasings.side_answer(noun, known.side)
        yield "location", "side", phrasings.SIDE, known.side, answer
    if name in LUNG and known.region:
        answer = phrasings.region_answer(noun, known.region, known.side)
        yield "location", "region", phrasings.REGION, known.region, answer
    if name in GRADED and known.severity:
        answer = phrasings.quality_answer(noun, known.severity)
        yield "severity", "severity", graded, known.severity, answer
    if name in TEXTURED and known.texture:
        answer = phrasings.quality_answer(noun, known.texture)
        yield "appearance", "texture", phrasings.APPEARANCE, known.texture, answer


def from_labels(film: Film) -> Iterator[Question]:
    """Yield presence questions on a film without a report, from its published labels."""
    ask = asker(film, LABELS)
    for name, value in list(zip(FINDINGS, film.labels, strict=True))[1:]:
        if value in (0.0, 1.0):
            details = Described("", "", "", "") if value else None
            yield presence(ask, film, name, "", details)


def view_question(films: list[Film]) -> Question:
    """Return the question on the view of one film of a study: PA or AP where it is stated."""
    study = films[0].study_id
    film = films[phrasings.digest(study, "film") % len(films)]
    ask = asker(film, RULES)
    beam = film.projection if film.projection in PROJECTION else ""
    if film.view == "frontal" and beam and phrasings.digest(study, "projection") % 2:
        asked = phrasings.choose(phrasings.PROJECTION, study, "projection")
        return ask("view", "", asked, f"This is {article(beam)} {beam} film.", beam, "")
    asked = phrasings.choose(phrasings.VIEW, study, "view")
    return ask("view", "", asked, f"This is a {film.view} view.", film.view, "")


def balanced(rows: list[Question], dropped: Counter[str]) -> list[Question]:
    """Keep as many yes as no among presence questions, by split, source and finding."""
    groups: dict[tuple[str, str, str], dict[str, list[Question]]] = {}
    for row in rows:
        if row.kind == "presence":
            group = groups.setdefault((row.split, row.source, row.finding), {"yes": [], "no": []})
            group[row.answer_key].append(row)
    kept: set[Question] = set()
    for group in groups.values():
        count = min(map(len, group.values()))
        for candidates in group.values():
            ordered = sorted(candidates, key=lambda r: phrasings.digest(r.study_id, r.finding))
            kept.update(ordered[:count])
            dropped["presence not needed for the balance of yes and no"] += len(ordered) - count
    return [row for row in rows if row.kind != "presence" or row in kept]


def of_study(films: list[Film], dropped: Counter[str]) -> Iterator[Question]:
    """Yield the candidates of one study; its films have frontal ones first."""
    reader = next((film for film in films if film.has_report), None)
    yield from from_report(reader, dropped) if reader else from_labels(films[0])
    yield view_question(films)


def generate(films: Iterable[Film]) -> Questions:
    """Return the table for a catalog's films."""
    dropped: Counter[str] = Counter()
    ordered = sorted(films, key=lambda f: (f.study_id, f.view != "frontal", f.image_id))
    by_image: Mapping[str, Film] = {film.image_id: film for film in ordered}
    candidates = [
        row
        for _, study in groupby(ordered, key=lambda f: f.study_id)
        for row in of_study(list(study), dropped)
    ]
    admitted = admit(candidates, by_image)
    kept = balanced(admitted.rows, dropped)
    return Questions(kept, {**admitted.dropped, **dropped})
