from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.nets.load import load_language_model
from engine.prompts import DRAW_INSTRUCTIONS, REPORT_INSTRUCTIONS
from training.instructions import IGNORED
from training.mixture import stack
from training.pools import pools
from training.supervised import Supervised, tensors


@pytest.fixture(scope="module")
def model(trained):
    return load_language_model(trained.run_dir, "sft")


@pytest.fixture(scope="module")
def mixture(trained, model):
    return trained.mixture("sft", model.prompts)


@pytest.fixture(scope="module")
def builder(mixture):
    return mixture.builder


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


def mean_loss(model, batch):
    net = Supervised(model.model, model.prompts.vocabulary, image_weight=1.0)
    with torch.no_grad():
        ids, labels, positions = tensors(batch, torch.device("cpu"))
        return float(net(ids, labels, positions) / net.weight_of(labels))


def test_packed_rows_lose_what_they_lose_alone(builder, model, trained):
    rng = np.random.default_rng(0)
    rows = [builder.report(int(film), rng) for film in trained.reported("train")[:2]]
    together = mean_loss(model, stack([rows]))
    alone = [mean_loss(model, stack([[row]])) for row in rows]
    sizes = [len(learned(row)) for row in rows]
    assert together == pytest.approx(np.average(alone, weights=sizes), abs=1e-5)


def with_settings(mixture, /, **changes):
    builder = replace(mixture.builder, settings=mixture.builder.settings.model_copy(update=changes))
    return replace(mixture, builder=builder)


def test_the_mixture_keeps_its_shares(mixture):
    shares = {"report": 0.5, "draw": 0.3, "vqa": 0.1, "text": 0.1}
    mixed = with_settings(mixture, mixture=shares)
    num_drawn = sum(len(learned(mixed.row(n))) == 259 for n in range(400))
    assert num_drawn / 400 == pytest.approx(0.3, abs=0.07)


@pytest.mark.parametrize("rows_per_line", [1, 2])
def test_no_row_is_cut(mixture, rows_per_line):
    mixed = with_settings(mixture, mixture={"report": 1.0}, rows_per_line=rows_per_line)
    (batch,) = mixed.batches(range(4), 1)
    assert len(batch.input_ids) == 4 / rows_per_line
    assert batch.is_packed == (rows_per_line > 1)
    ends = (batch.labels == mixture.builder.prompts.vocabulary.end_id).sum()
    starts = ((batch.position_ids == 0) & (batch.input_ids != 0)).sum()
    assert ends == starts == 4


def test_hints_name_what_the_text_tells_and_err_now_and_then(mixture, trained):
    builder = with_settings(mixture, hints=1.0).builder
    rng = np.random.default_rng(0)
    film = next(
        row for row in trained.reported("train")
        if "effusion" in trained.catalog.films[row].findings
    )  # fmt: skip
    lines = [builder.study(int(film), rng).context for _ in range(60)]
    named = sum("pleural effusion" in line for line in lines)
    assert 45 < named < 60


def test_composing_needs_no_film(builder, trained):
    film = int(trained.reported("train")[0])
    row = builder.compose(film, np.random.default_rng(0))
    assert not set(row.input_ids) & set(builder.prompts.vocabulary.image_range)
    assert builder.prompts.text(learned(row)) == trained.report_text(film)


def test_one_direction_keeps_input_and_output_films_apart(trained):
    settings = trained.recipe.sft.model_copy(update={"directions": "one"})
    found = pools(trained.catalog.films, settings, trained.questions())
    assert not set(found["report"].films) & set(found["draw"].films)
    told = set(trained.reported("train").tolist())
    assert set(found["report"].films) | set(found["draw"].films) == told


def test_a_stage_may_be_kept_to_first_studies_and_to_impressions(trained):
    films = [
        replace(film, earliest=index % 2 == 0, impression="" if index == 4 else film.impression)
        for index, film in enumerate(trained.catalog.films)
    ]
    update = {"earliest_only": True, "target": "impression", "mixture": {"report": 1.0}}
    settings = trained.recipe.sft.model_copy(update=update)
    used = pools(films, settings)["report"].films
    assert len(used)
    assert all(films[row].earliest and row != 4 for row in used)


def test_abnormal_films_come_as_often_as_asked(trained):
    settings = trained.recipe.sft.model_copy(
        update={"abnormal_share": 0.9, "mixture": {"report": 1.0}}
    )
    pool = pools(trained.catalog.films, settings)["report"]
    rng = np.random.default_rng(0)
    abnormal = set(pool.abnormal.tolist())
    assert abnormal
    share = np.mean([pool.pick(number, 1, rng) in abnormal for number in range(400)])
    assert share == pytest.approx(0.9, abs=0.06)
