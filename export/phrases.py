"""Training reports -> the table of phrases that speeds up drafting (`engine.phrases`)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.bundle import open_bundle
from engine.phrases import ROLE, START, PhraseBook
from engine.prompts import PromptBuilder
from export.bundle import entry, write_manifest

NAME = "phrases.json"
ORDER = 6
MIN_REPORTS = 5
"""A phrase that stands in fewer reports is left out: it might name its patient."""

Context = tuple[int, ...]


def learn(reports: Iterable[Sequence[int]], end_id: int) -> PhraseBook:
    """Count what follows each context; keep what stands in at least five reports.

    A context that says no more than its own end is left out: the shorter one serves.
    """
    counts: defaultdict[Context, Counter[int]] = defaultdict(Counter)
    for ids in reports:
        for context, token in _pairs(ids, end_id):
            counts[context][token] += 1
    follows: dict[Context, tuple[int, float]] = {}
    for context in sorted(counts, key=len):
        token, count = counts[context].most_common(1)[0]
        share = round(count / counts[context].total(), 2)
        shorter = follows.get(context[1:])
        if count >= MIN_REPORTS and shorter != (token, share):
            follows[context] = token, share
    return PhraseBook(ORDER, follows)


def _pairs(ids: Sequence[int], end_id: int) -> set[tuple[Context, int]]:
    """Return every context of a report with the token after it, each once a report."""
    line = [START, *ids, end_id]
    return {
        (tuple(line[start:place]), line[place])
        for place in range(1, len(line))
        for start in range(max(0, place - ORDER), place)
    }


def add_phrases(directory: Path, texts: Iterable[str], version: str) -> PhraseBook:
    """Write the phrases of reports into a bundle, as its next version.

    Raises
    ------
    BundleError
        The bundle is not whole.
    """
    bundle = open_bundle(directory)
    prompts = PromptBuilder.of(bundle)
    book = learn((prompts.text_ids(text) for text in texts), bundle.vocabulary.end_id)
    path = directory / NAME
    path.write_text(json.dumps(book.as_json(), separators=(",", ":")) + "\n", encoding="utf-8")
    files = bundle.manifest["files"] | {ROLE: entry(path)}
    write_manifest(directory, bundle.manifest | {"version": version, "files": files})
    return book
