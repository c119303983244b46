"""Every answer says how many tokens it took."""

import numpy as np

from engine.pipeline import Engine


def test_reports_answers_and_drawings_count_their_tokens():
    engine = Engine.load()
    film = np.zeros((1, 256, 256), np.float32)
    draft = engine.report(film)
    answer = engine.ask(film, "Is there a pleural effusion?")
    ids = engine.prompts.tokenizer.encode(draft.text, add_special_tokens=False).ids
    assert abs(draft.provenance.num_tokens - len(ids)) <= 3
    assert 0 < answer.provenance.num_tokens <= 64
    assert draft.provenance.as_json()["num_tokens"] == draft.provenance.num_tokens
    assert engine.draw("No finding.", seed=1).provenance.num_tokens == 256
