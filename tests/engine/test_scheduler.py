"""Many sequences, one model: each as if alone, the urgent first, faults where they belong."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.errors import GenerationFault
from engine.films import FilmReader
from engine.generation import alone, draw_codes, write_text
from engine.sampling import Sampling
from engine.scheduler import Scheduler, Urgency
from tests.engine.random_model import VOCABULARY, RandomModel, RandomSlot


class Recorder(RandomModel):
    """A model that remembers which slots each step served, and may be held before a step."""

    def __init__(self) -> None:
        super().__init__(0, 3.0)
        self.steps: list[list[RandomSlot]] = []
        self.may_go, self.has_come = threading.Event(), threading.Event()
        self.may_go.set()
        self.fails_at: int | None = None

    def forward(self, feeds):
        self.has_come.set()
        assert self.may_go.wait(10)
        self.steps.append([feed.slot for feed in feeds])
        if len(self.steps) - 1 == self.fails_at:
            raise RuntimeError("the device is gone")
        return super().forward(feeds)


def text(slot, prompt, limit=40):
    return write_text(slot, prompt, VOCABULARY, max_new_tokens=limit)


def drawing(slot, seed):
    sampling = Sampling(1.0, 0.9)
    return draw_codes([(slot, [5, 1])], VOCABULARY, sampling=sampling, seed=seed)


def test_side_by_side_everybody_gets_what_they_get_alone():
    model = Recorder()
    prompts = [[5, kind] for kind in range(4, 11)]
    expected = [alone(model, text(model.open_slot(), prompt)) for prompt in prompts]
    model.steps.clear()
    scheduler = Scheduler(model)
    with ThreadPoolExecutor(len(prompts)) as threads:
        found = threads.map(lambda p: scheduler.run(text(model.open_slot(), p)), prompts)
        assert list(found) == expected
    assert max(len(step) for step in model.steps) <= model.max_batch


def test_an_urgent_text_waits_for_the_step_under_way_and_no_more():
    model = Recorder()
    scheduler = Scheduler(model)
    image, report = model.open_slot(), model.open_slot()
    model.may_go.clear()
    with ThreadPoolExecutor(2) as threads:
        drawn = threads.submit(scheduler.run, drawing(image, 3), Urgency.ILLUSTRATION)
        assert model.has_come.wait(10)  # the drawing's first step is under way, and held
        written = threads.submit(scheduler.run, text(report, [5, 6]), Urgency.STAT)
        while len(scheduler._jobs) < 2:
            pass
        model.may_go.set()
    assert written.result() == alone(model, text(model.open_slot(), [5, 6]))
    assert drawn.result() == alone(model, drawing(model.open_slot(), 3))
    urgent = [step == [report] for step in model.steps]
    assert model.steps[0] == [image]
    num_urgent = sum(urgent)
    assert urgent[1 : 1 + num_urgent] == [True] * num_urgent, "a step of the drawing came between"


def test_a_film_is_looked_at_after_the_step_under_way_and_not_after_the_drawing():
    model = Recorder()
    scheduler = Scheduler(model)
    seen = []
    with ThreadPoolExecutor(4) as threads:
        drawn = [
            threads.submit(scheduler.run, drawing(model.open_slot(), seed)) for seed in range(3)
        ]
        assert model.has_come.wait(10)
        before = len(model.steps)
        with scheduler.between_steps():
            seen.append(len(model.steps) - before)
    assert all(each.result() for each in drawn)
    assert seen[0] <= 20, "the turn was not handed on"


def test_a_fault_of_one_is_not_the_other_s():
    model = Recorder()
    scheduler = Scheduler(model)
    full = RandomSlot(room=3)
    with ThreadPoolExecutor(2) as threads:
        good = threads.submit(scheduler.run, text(model.open_slot(), [5, 6]))
        bad = threads.submit(scheduler.run, text(full, [5, 6, 7, 8]))
        assert good.result() == alone(model, text(model.open_slot(), [5, 6]))
        with pytest.raises(GenerationFault, match="longer than 3 tokens"):
            bad.result()
    assert scheduler._jobs == []


def test_a_step_that_fails_fails_those_it_served_and_the_next_caller_is_served():
    model = Recorder()
    model.fails_at = 1
    scheduler = Scheduler(model)
    with pytest.raises(RuntimeError, match="the device is gone"):
        scheduler.run(text(model.open_slot(), [5, 6]))
    assert scheduler.run(text(model.open_slot(), [5, 6]))
    assert scheduler._jobs == []


@dataclass
class Encoder:
    """Counts how often it is asked, and for how many films."""

    asked: list[int] = field(default_factory=list)

    def encode(self, images):
        self.asked.append(len(images))
        return np.stack([np.full(256, int(image[0, 0, 0]), np.int64) for image in images])

    def classify(self, image):
        self.asked.append(-1)
        return {"findings": np.zeros(14, np.float32)}


def film(value):
    return np.full((1, 256, 256), value, np.float32)


def test_films_that_wait_are_encoded_in_one_call_and_each_once():
    encoder = Encoder()
    scheduler = Scheduler(encoder)
    reader = FilmReader(encoder, scheduler)
    with ThreadPoolExecutor(4) as threads:
        with scheduler.between_steps():
            asked = [threads.submit(reader.codes, film(value)) for value in (1, 2, 3, 2)]
            while len(reader._waiting) < 4:
                pass
        assert [answer.result()[0] for answer in asked] == [1, 2, 3, 2]
    assert encoder.asked == [3]
    reader.codes(film(3))
    assert encoder.asked == [3]


def test_a_call_that_fails_is_one_caller_s_and_the_others_get_their_codes():
    encoder = Encoder()
    encode, faults = encoder.encode, [RuntimeError("the device is gone")]

    def once_broken(images):
        if faults:
            raise faults.pop()
        return encode(images)

    encoder.encode = once_broken
    scheduler = Scheduler(encoder)
    reader = FilmReader(encoder, scheduler)
    with ThreadPoolExecutor(3) as threads:
        with scheduler.between_steps():
            asked = [threads.submit(reader.codes, film(value)) for value in (1, 2, 3)]
            while len(reader._waiting) < 3:
                pass
        ended = [
            (answer.exception(), value) for answer, value in zip(asked, (1, 2, 3), strict=True)
        ]
        assert sum(fault is not None for fault, _ in ended) == 1
        for answer, (fault, value) in zip(asked, ended, strict=True):
            assert fault is not None or answer.result()[0] == value


def test_a_film_that_waits_is_not_lost_to_many_others():
    encoder = Encoder()
    scheduler = Scheduler(encoder)
    reader = FilmReader(encoder, scheduler)
    with ThreadPoolExecutor(20) as threads:
        with scheduler.between_steps():
            asked = [threads.submit(reader.codes, film(value)) for value in range(20)]
            while len(reader._waiting) < 20:
                pass
        assert [answer.result()[0] for answer in asked] == list(range(20))


def test_a_film_that_is_no_number_spoils_no_other():
    encoder = Encoder()
    reader = FilmReader(encoder, Scheduler(encoder))
    with pytest.raises(GenerationFault, match="not numbers"):
        reader.codes(film(np.nan))
    assert reader.codes(film(7))[0] == 7


def test_a_film_is_classified_once_and_old_ones_are_forgotten():
    encoder = Encoder()
    reader = FilmReader(encoder, Scheduler(encoder))
    for value in [*range(20), 19, 0]:
        reader.answers(film(value))
    assert encoder.asked == [-1] * 21
