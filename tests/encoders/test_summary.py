import numpy as np
import pytest

from msajax.encoders.summary import summary_steps
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
