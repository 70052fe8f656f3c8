import numpy as np

from msajax.encoders.relative import buckets


def test_distances_on_both_sides():
    near = np.arange(-8, 9)
    assert buckets(near).tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0, *range(17, 25)]
    # Where the logarithm is a whole number: 8, 16, 32, 64, 128.
    assert buckets(-(2 ** np.arange(3, 9))).tolist() == [8, 10, 12, 14, 15, 15]
    assert buckets(np.array([15, 16, 4000])).tolist() == [25, 26, 31]


def test_distances_of_a_causal_decoder():
    near = [16, 16, *range(16, 0, -1), 0, 0, 0]
    assert buckets(np.arange(-18, 3), causal=True).tolist() == near
    assert buckets(-(2 ** np.arange(4, 9)), causal=True).tolist() == [
        16,
        21,
        26,
        31,
        31,
    ]


def test_other_numbers_of_buckets():
    found = buckets(np.arange(-9, 10), count=8, farthest=8)
    assert found.tolist() == [*[3] * 6, 2, 2, 1, 0, 5, 6, 6, *[7] * 6]
    odd = buckets(np.arange(-40, 41), count=9, farthest=33)
    assert {*odd.tolist()} == {0, 1, 2, 3, 5, 6, 7}  # the ninth row is for none
