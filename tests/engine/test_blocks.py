"""Blocks of few bits are the numbers that they stand for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.blocks import dequantised, nibbles

fours = st.lists(st.integers(-8, 7), min_size=2, max_size=40).filter(
    lambda each: len(each) % 2 == 0
)


@given(fours)
def test_four_bits_come_back_out_of_their_bytes(values):
    low, high = (np.asarray(values[start::2]) & 0xF for start in (0, 1))
    packed = (low | high << 4).astype(np.uint8)
    assert nibbles(packed).tolist() == values


@given(st.integers(1, 9), st.integers(1, 5), st.sampled_from([2, 4]), st.sampled_from([0, 1]))
def test_every_value_is_multiplied_by_the_scale_of_its_block(count, width, block, axis):
    rng = np.random.default_rng(count)
    shape = (count, width) if axis == 0 else (width, count)
    values = rng.integers(-127, 128, shape).astype(np.int8)
    sizes = [-(-size // block) if place == axis else size for place, size in enumerate(shape)]
    scales = rng.uniform(0.1, 1, sizes).astype(np.float32)
    found = dequantised(values, scales, axis, block)
    for row, column in np.ndindex(*shape):
        place = (row // block, column) if axis == 0 else (row, column // block)
        assert found[row, column] == values[row, column] * scales[place]


def test_packed_values_take_the_width_of_their_scales():
    packed = np.asarray([0x21, 0x43, 0xFE], np.uint8)  # 1, 2 / 3, 4 / -2, -1
    scales = np.asarray([[1.0, 10.0], [100.0, 1000.0]], np.float32)
    expected = [[1, 20], [3, 40], [-200, -1000]]
    np.testing.assert_array_equal(dequantised(packed, scales, 0, 2), expected)
