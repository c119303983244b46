"""The exported engine end to end, on the miniature run: shapes, constraints, repeatability."""

import numpy as np

from engine.backends.base import Feed
from engine.generation import alone, write_text


def film(seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (1, 256, 256)).astype(np.float32)


def test_a_report_is_the_same_every_time_and_says_where_it_came_from(engine):
    first, second = engine.report(film()), engine.report(film())
    assert first.text == second.text
    assert first.provenance.bundle_digest == engine.digest
    assert first.provenance.seed is None


def test_a_drawing_repeats_for_its_seed(engine):
    first, second, third = (engine.draw("Clear lungs.", seed=s) for s in (1, 1, 2))
    assert first.codes == second.codes != third.codes
    assert len(first.codes) == 256
    assert first.image.shape == (1, 256, 256)
    assert np.abs(first.image).max() <= 1


def last_logits(engine, slot, ids):
    """Append tokens; return the logits after the last."""
    rows = range(engine.bundle.vocabulary.size)
    return engine.backend.forward([Feed(slot, ids, rows)])[0][-1]


def test_steps_and_prefill_agree_and_a_rewound_slot_forgets(engine):
    ids = engine.prompts.about_text("Explain it.")
    whole = last_logits(engine, engine.backend.open_slot(), ids)
    slot = engine.backend.open_slot()
    last_logits(engine, slot, ids[:4])
    for token in ids[4:]:
        stepped = last_logits(engine, slot, [token])
    np.testing.assert_allclose(stepped, whole, atol=0.08)
    slot.rewind(4)
    for token in ids[4:]:
        again = last_logits(engine, slot, [token])
    np.testing.assert_array_equal(stepped, again)


def written(engine, slot, ids):
    return alone(engine.backend, write_text(slot, ids, engine.bundle.vocabulary, max_new_tokens=8))


def test_two_slots_do_not_disturb_each_other(engine):
    ids = engine.prompts.about_text("Explain it.")
    first = written(engine, engine.backend.open_slot(), ids)
    slot, other = engine.backend.open_slot(), engine.backend.open_slot()
    last_logits(engine, slot, ids[:3])
    last_logits(engine, other, ids)
    slot.rewind(0)
    assert written(engine, slot, ids) == first


def test_a_film_is_inspected_and_answered_on(engine):
    assert not engine.inspect(np.zeros((1, 256, 256), np.float32)).accepted
    assert engine.ask(film(), "Does the film show edema?").provenance.prompt_version
    assert set(engine.findings(film())) >= {"Cardiomegaly", "Edema"}


def test_the_device_uid_names_the_weights(engine):
    assert engine.device_uid.startswith("2.25.")
    assert len(engine.device_uid) <= 64
