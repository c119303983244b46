from hypothesis import given
from hypothesis import strategies as st

from engine.report import parse, sentences


def test_headings_split_a_report():
    text = "Findings: The heart is large. No effusion.\nImpression: Cardiomegaly."
    assert parse(text) == (("The heart is large.", "No effusion."), ("Cardiomegaly.",))


def test_text_without_headings_is_findings():
    assert parse("Clear lungs.") == (("Clear lungs.",), ())


def test_a_repeated_sentence_stands_once():
    assert sentences("No effusion. Clear lungs. No effusion.") == ("No effusion.", "Clear lungs.")


@given(st.text())
def test_any_text_parses_to_sentences_with_words(text):
    for sentence in (*parse(text)[0], *parse(text)[1]):
        assert any(char.isalnum() for char in sentence)
