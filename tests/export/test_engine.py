"""The exported engine end to end, on the miniature run: shapes, constraints, repeatability."""

import numpy as np

from engine.generation import generate_text


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


def test_steps_and_prefill_agree_and_a_rewound_slot_forgets(engine):
    ids = engine.prompts.about_text("Explain it.")
    whole = engine.backend.open_slot().prefill(ids)
    slot = engine.backend.open_slot()
    slot.prefill(ids[:4])
    for token in ids[4:]:
        stepped = slot.step(token)
    np.testing.assert_allclose(stepped, whole, atol=0.08)
    slot.rewind(4)
    for token in ids[4:]:
        again = slot.step(token)
    np.testing.assert_array_equal(stepped, again)


def test_two_slots_do_not_disturb_each_other(engine):
    ids = engine.prompts.about_text("Explain it.")
    alone = generate_text(
        engine.backend.open_slot(), ids, engine.bundle.vocabulary, max_new_tokens=8
    )
    slot, other = engine.backend.open_slot(), engine.backend.open_slot()
    slot.prefill(ids[:3])
    other.prefill(ids)
    slot.rewind(0)
    assert generate_text(slot, ids, engine.bundle.vocabulary, max_new_tokens=8) == alone


def test_a_film_is_inspected_and_answered_on(engine):
    assert not engine.inspect(np.zeros((1, 256, 256), np.float32)).accepted
    assert engine.ask(film(), "Does the film show edema?").provenance.prompt_version
    assert set(engine.findings(film())) >= {"Cardiomegaly", "Edema"}


def test_the_device_uid_names_the_weights(engine):
    assert engine.device_uid.startswith("2.25.")
    assert len(engine.device_uid) <= 64
