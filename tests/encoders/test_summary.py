import numpy as np
import pytest

from msajax.encoders.summary import step_zero, summary_steps
from tests import toys

FIRST, LAST = [[0, 1, 0], [1, 0, 0], [0] * 3], [[0, 0, 1], [0, 1, 0], [0] * 3]
REAL = [[0, 1, 1], [1, 1, 0], [0] * 3]


@pytest.mark.parametrize(
    "encoder,expected",
    [
        (None, FIRST),
        (toys.BERT, FIRST),
        (toys.DEBERTA, FIRST),
        (toys.XLNET, LAST),
        (toys.T5, REAL),
    ],
)
def test_the_steps_of_each_encoder(encoder, expected):
    """Texts are padded in front, behind, and absent."""
    found = summary_steps(encoder, np.array(REAL, bool))
    np.testing.assert_array_equal(found, np.array(expected, bool))


@pytest.mark.parametrize(
    "encoder,expected",
    [
        (None, [0, 0, 0]),
        (toys.MPNET, [0, 0, 0]),
        (toys.XLNET, [1, 2, 0]),
        (toys.T5, [0.5, 1, 0]),
    ],
)
def test_what_stands_for_position_0(encoder, expected):
    """Of two, three and no real steps; the values are the positions."""
    mask = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0]], bool)
    x = np.tile(np.arange(3, dtype=np.float32)[None, :, None], (3, 1, 2))
    found = step_zero(encoder, x, mask)
    np.testing.assert_array_equal(found, np.tile(expected, (2, 1)).T)
