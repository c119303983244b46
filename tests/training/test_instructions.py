import numpy as np
import pytest
import torch

from engine.nets.load import load_language_model
from engine.prompts import DRAW_INSTRUCTIONS, REPORT_INSTRUCTIONS
from training import encode_images
from training.finetune import supervised_loss
from training.instructions import IGNORED, RowBuilder
from training.mixture import Mixture, stack


@pytest.fixture(scope="module")
def model(trained):
    return load_language_model(trained.run_dir)


@pytest.fixture(scope="module")
def builder(trained, model):
    codes = encode_images.read(trained.run_dir / "codes.npy", len(trained.catalog.films))
    return RowBuilder(model.prompts, trained.catalog.films, codes)


def learned(row):
    return [token for token, label in zip(row.input_ids, row.labels, strict=True) if label >= 0]


def test_a_report_row_learns_the_report_and_nothing_else(builder, trained):
    film = int(trained.reported("train")[0])
    row = builder.report(film, np.random.default_rng(0))
    vocabulary = builder.prompts.vocabulary
    assert builder.prompts.text(learned(row)) == trained.report_text(film)
    assert learned(row)[-1] == vocabulary.end_id
    assert not set(learned(row)) & set(vocabulary.image_range)


def test_a_drawing_row_learns_256_codes_between_their_two_marks(builder, trained):
    row = builder.draw(int(trained.reported("train")[0]), np.random.default_rng(0))
    vocabulary = builder.prompts.vocabulary
    taken = learned(row)
    assert len(taken) == 256 + 2 + 1
    assert taken[0] == vocabulary.image_open_id
    assert taken[-2:] == [vocabulary.image_close_id, vocabulary.end_id]
    assert sum(token in vocabulary.image_range for token in taken) == 256


def test_prompts_for_training_and_serving_are_the_same(builder, trained):
    film = int(trained.reported("train")[0])
    row = builder.report(film, np.random.default_rng(0))
    codes = builder.codes[film].tolist()
    prompts = [builder.prompts.about_image(text, codes) for text in REPORT_INSTRUCTIONS]
    count = row.labels.count(IGNORED)
    assert row.input_ids[:count] in prompts


def test_there_are_ten_paraphrases_a_task():
    assert len(set(REPORT_INSTRUCTIONS)) == len(set(DRAW_INSTRUCTIONS)) == 10


def test_packed_rows_lose_what_they_lose_alone(builder, model, trained):
    rng = np.random.default_rng(0)
    films = trained.reported("train")[:2]
    rows = [builder.report(int(film), rng) for film in films]
    vocabulary = builder.prompts.vocabulary
    with torch.no_grad():
        together = supervised_loss(model.model, stack([rows]), vocabulary, 1.0)
        alone = [supervised_loss(model.model, stack([[row]]), vocabulary, 1.0) for row in rows]
    sizes = [len(learned(row)) for row in rows]
    assert float(together) == pytest.approx(np.average(alone, weights=sizes), abs=1e-5)


def test_the_mixture_keeps_its_shares(builder, trained):
    shares = {"report": 0.5, "draw": 0.3, "vqa": 0.1, "text": 0.1}
    mixture = Mixture(builder, shares, trained.reported("train"), seed=3)
    num_drawn = sum(len(learned(mixture.row(n))) == 259 for n in range(400))
    assert num_drawn / 400 == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize("rows_per_line", [1, 2])
def test_no_row_is_cut(builder, trained, rows_per_line):
    pool = trained.reported("train")
    mixture = Mixture(builder, {"report": 1.0}, pool, seed=3, rows_per_line=rows_per_line)
    batch = mixture.batch(0, batch_size=2, max_length=900)
    assert batch.is_packed == (rows_per_line > 1)
    ends = (batch.labels == builder.prompts.vocabulary.end_id).sum()
    starts = ((batch.position_ids == 0) & (batch.input_ids != 0)).sum()
    assert ends == starts
