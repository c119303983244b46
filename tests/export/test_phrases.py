"""The table of phrases: what stood in several reports, and nothing of a single one."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle import DEMO, open_bundle
from engine.errors import BundleCorrupt
from engine.phrases import MAX_GUESSES, NO_PHRASES, ROLE, START, PhraseBook
from engine.pipeline import Engine
from export.phrases import MIN_REPORTS, ORDER, add_phrases, learn

END = 2
USUAL = [10, 11, 12, 13, 14, 15, 16, 17]


def test_what_many_reports_say_is_guessed_word_for_word():
    book = learn([USUAL] * MIN_REPORTS, END)
    assert book.guess([]) == USUAL[:MAX_GUESSES]
    assert book.guess(USUAL[:4]) == [*USUAL[4:], END]


def test_what_few_reports_say_is_in_no_bundle():
    secret = [90, 91, 92, 93]
    book = learn([USUAL] * 20 + [secret] * (MIN_REPORTS - 1), END)
    tokens = {token for context, (token, _) in book.follows.items() for token in (*context, token)}
    assert tokens == {START, END, *USUAL}
    assert not tokens & set(secret)


def test_a_word_that_one_report_repeats_counts_once():
    assert learn([[7, 8] * 40], END).follows == {}


def test_an_unlikely_guess_is_not_made():
    several = [[1, 2 + kind] for kind in range(3, 13)] * MIN_REPORTS
    book = learn(several, END)
    assert book.guess([]) == [1]


@given(st.lists(st.lists(st.integers(3, 8), max_size=9), max_size=40), st.lists(st.integers(3, 8)))
def test_guesses_are_few_and_known_and_the_table_comes_back(reports, written):
    book = learn(reports, END)
    assert len(book.guess(written)) <= MAX_GUESSES
    assert all(len(context) <= ORDER for context in book.follows)
    stored = json.loads(json.dumps(book.as_json()))
    assert {tuple(context): (token, chance) for context, token, chance in stored["follows"]} == {
        **book.follows
    }


def test_no_table_no_guess():
    assert NO_PHRASES.guess([1, 2, 3]) == []


def test_a_bundle_gets_its_table_and_writes_the_same_with_it(tmp_path):
    directory = shutil.copytree(DEMO, tmp_path / "bundle")
    texts = ["Findings: The lungs are clear.\nImpression: No acute disease."] * MIN_REPORTS
    book = add_phrases(directory, texts, "9.9.9")
    engine = Engine.load(directory)
    assert (engine.version, engine.phrases) == ("9.9.9", book)
    prompt = engine.prompts.about_text("Write a radiology report.")
    with_book = engine.write(prompt, 24, 1)
    engine.phrases = NO_PHRASES
    assert engine.write(prompt, 24, 1) == with_book


@pytest.mark.parametrize("content", ["no json", "{}", '{"order": 6, "follows": [[1]]}'])
def test_a_broken_table_is_refused(tmp_path, content):
    path = tmp_path / "phrases.json"
    path.write_text(content)
    with pytest.raises(BundleCorrupt, match="no table of phrases"):
        PhraseBook.read(path)


def test_the_demo_bundle_has_one():
    assert open_bundle().has(ROLE)
