import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.order import batch_rows, rank_rows

sizes = st.integers(1, 50)


@given(sizes, st.integers(1, 20), st.integers(0, 99))
def test_every_epoch_shows_every_row_once(num_rows, batch_size, seed):
    stream = np.concatenate(
        [batch_rows(num_rows, batch_size, seed, s) for s in range(2 * num_rows)]
    )
    for epoch in range(len(stream) // num_rows):
        part = stream[epoch * num_rows : (epoch + 1) * num_rows]
        assert sorted(part) == list(range(num_rows))


@given(sizes, st.integers(1, 12), st.integers(0, 9), st.integers(0, 30), st.integers(1, 4))
def test_the_ranks_share_a_batch_without_overlap(num_rows, batch_size, seed, step, world):
    rows = batch_rows(num_rows, batch_size, seed, step)
    shared = np.concatenate([rank_rows(rows, rank, world) for rank in range(world)])
    assert sorted(shared) == sorted(rows)
