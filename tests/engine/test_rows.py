"""Many sequences in one cache: a call serves a run of rows and spoils nobody's entries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.base import Feed
from engine.backends.device import call_of, wanted_of
from engine.backends.rows import BUCKETS, MAX_WIDTH, Rows, batches, row_of
from engine.errors import GenerationFault

MAX_LENGTH = 40


@st.composite
def situations(draw):
    """Draw lent rows with something in them, and feeds for some of them."""
    lent = Rows(MAX_LENGTH, 40)
    slots = [lent.take() for _ in range(draw(st.integers(1, 36)))]
    feeds = []
    for slot in slots:
        slot.length = draw(st.integers(0, MAX_LENGTH))
        count = draw(st.integers(0, min(slot.room, 12)))
        if count:
            wanted = draw(st.integers(0, count))
            start = draw(st.integers(0, 50))
            rows = range(start, draw(st.integers(start + 1, 99)))
            feeds.append(Feed(slot, [7] * count, rows, wanted))
    feeds = draw(st.permutations(feeds))
    return lent, slots, feeds, draw(st.sampled_from([(), BUCKETS]))


@given(situations())
def test_every_feed_is_served_once_and_no_entry_is_written_over(situation):
    lent, slots, feeds, buckets = situation
    made = batches(feeds, lent, buckets)
    assert sorted(place for batch in made for place in batch.places) == list(range(len(feeds)))
    for batch in made:
        call = call_of(batch, feeds, lent)
        assert call.starts.max() + batch.width <= MAX_LENGTH
        for place in batch.places:
            own = row_of(feeds[place]) - batch.rows.start
            assert call.starts[own] == feeds[place].slot.length
            assert (call.ids[own] == 7).sum() == len(feeds[place].token_ids) <= batch.width
        for slot in slots:
            if slot.row in batch.rows and slot.length < MAX_LENGTH:
                assert call.starts[slot.row - batch.rows.start] >= slot.length


@given(situations())
def test_a_shared_call_has_one_of_the_sizes_that_are_recorded(situation):
    lent, _, feeds, _ = situation
    for batch in batches(feeds, lent, BUCKETS):
        if len(batch.places) > 1:
            assert batch.rows.start == 0
            assert batch.rows.stop in BUCKETS
            assert batch.width in (1, 2, 4, MAX_WIDTH)


@given(situations())
def test_each_feed_gets_the_logits_that_it_asked_for(situation):
    lent, _, feeds, buckets = situation
    for batch in batches(feeds, lent, buckets):
        call = call_of(batch, feeds, lent)
        if call.head is None:
            logits = None
        else:  # each value says which row, position and token id it belongs to
            rows, positions = np.array(call.rows), np.arange(call.wanted_from, batch.width)
            places = rows[:, None, None] * 10_000 + positions[None, :, None] * 100
            logits = (places + np.array(call.head)).astype(np.float32)
        for place in batch.places:
            feed = feeds[place]
            count, wanted = len(feed.token_ids), feed.num_wanted
            expected = row_of(feed) * 10_000 + np.arange(count - wanted, count)[:, None] * 100
            found = wanted_of(feed, call, logits)
            np.testing.assert_array_equal(found, expected + np.array(feed.rows))


def test_a_row_is_free_when_nobody_holds_its_sequence_any_more():
    lent = Rows(MAX_LENGTH, 2)
    first, second = lent.take(), lent.take()
    assert (first.row, second.row) == (0, 1)
    with pytest.raises(GenerationFault, match="no memory for another sequence"):
        lent.take()
    del first
    assert lent.take().row == 0
