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


def test_numbers_of_buckets_of_wavlm():
    found = buckets(np.arange(-8, 9), count=8, farthest=6)
    assert found.tolist() == [3, 3, 3, 3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7, 7, 7, 7]
    # Of the released networks: 79 distances are exact, 800 is the last bucket.
    far = np.array([-79, -80, -81, 799, 800, 10**6])
    found = buckets(far, count=320, farthest=800)
    assert found.tolist() == [79, 80, 80, 319, 319, 319]
    # Logarithms of float64 end one bucket lower.
    found = buckets(np.array([-8, -16, -64]), count=18, farthest=128)
    assert found.tolist() == [5, 6, 8]
