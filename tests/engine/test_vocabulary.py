import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PromptError
from engine.vocabulary import Vocabulary

VOCABULARY = Vocabulary(num_text=50281, end_id=0, image_open_id=1, image_close_id=2)
codes = st.lists(st.integers(0, 1023), min_size=256, max_size=256)


@given(codes)
def test_codes_survive_the_way_to_token_ids_and_back(image):
    assert VOCABULARY.to_codes(VOCABULARY.to_ids(image)) == image


@given(codes)
def test_an_image_is_258_tokens_of_which_256_are_codes(image):
    ids = VOCABULARY.image(image)
    assert len(ids) == 258
    assert sum(token in VOCABULARY.image_range for token in ids) == 256


def test_the_published_model_has_51305_rows():
    assert VOCABULARY.size == 51305


@pytest.mark.parametrize("wrong", [-1, 1024])
def test_a_code_outside_the_codebook_is_refused(wrong):
    with pytest.raises(PromptError):
        VOCABULARY.to_ids([wrong])


@pytest.mark.parametrize("count", [0, 255, 257])
def test_an_image_of_another_length_is_refused(count):
    with pytest.raises(PromptError):
        VOCABULARY.image([0] * count)


def test_a_word_is_no_code():
    with pytest.raises(PromptError):
        VOCABULARY.to_codes([5])
