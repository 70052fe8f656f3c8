import numpy as np

from msajax.nn.positions import interleaved, position_vectors, sinusoid


def test_sines_then_cosines_from_position_one():
    # Width 4: frequencies 1 and 1/10000.
    table = sinusoid(3, 4)
    for row, position in zip(table, (1, 2, 3), strict=True):
        angles = np.array([position, position / 10000])
        np.testing.assert_allclose(row, [*np.sin(angles), *np.cos(angles)], rtol=1e-6)


def test_odd_and_smallest_widths():
    assert sinusoid(5, 7).shape == (5, 7)
    np.testing.assert_array_equal(sinusoid(5, 7)[:, -1], 0)
    np.testing.assert_allclose(sinusoid(1, 2)[0], [np.sin(1), np.cos(1)], rtol=1e-6)


def test_the_quirk_skips_steps_whose_first_feature_is_zero():
    x = np.ones((2, 3, 4), np.float32)
    x[0, 1, 0] = 0
    plain = np.asarray(position_vectors(x, fairseq_zero_pos=False))
    np.testing.assert_array_equal(plain, np.stack([sinusoid(3, 4)] * 2))
    quirk = np.array(position_vectors(x, fairseq_zero_pos=True))
    np.testing.assert_array_equal(quirk[0, 1], 0)
    quirk[0, 1] = plain[0, 1]
    np.testing.assert_array_equal(quirk, plain)


def test_cormults_quirk_counts_only_steps_whose_first_feature_is_not_zero():
    x = np.ones((1, 4, 6), np.float32)
    x[0, 1, 0] = 0
    found = position_vectors(x, fairseq_zero_pos=False, counted_pos=True)
    one, two, three = sinusoid(3, 6)
    np.testing.assert_allclose(found[0], [one, 0 * one, two, three], atol=1e-7)


def test_interleaved_sines_and_cosines_from_position_zero():
    # Width 4: frequencies 1 and 1/100.
    for row, position in zip(interleaved(3, 4), range(3), strict=True):
        a, b = position, position / 100
        wanted = [np.sin(a), np.cos(a), np.sin(b), np.cos(b)]
        np.testing.assert_allclose(row, wanted, rtol=1e-6)
    assert interleaved(2, 5).shape == (2, 5)
