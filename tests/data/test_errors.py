import warnings

import pytest

from msajax.data.errors import DataError, decoding


def test_what_a_decoder_raises():
    with pytest.raises(DataError, match=r"damaged npz \(KeyError: .*copy or download"):
        with decoding("npz"):
            raise KeyError("x" * 3000)
    with pytest.raises(DataError, match="the npz asks for more memory than there is"):
        with decoding("npz"):
            raise MemoryError
    with pytest.raises(DataError, match="^ours$"), decoding("npz"):
        raise DataError("ours")


def test_a_long_message_is_cut():
    with pytest.raises(DataError) as error, decoding("csv"):
        raise ValueError("\ud800" * 3000)
    assert len(str(error.value)) < 1500 and str(error.value).isascii()


def test_warnings_of_a_decoder_are_not_heard():
    with decoding("npz"):
        warnings.warn("written by Python 2", UserWarning, stacklevel=1)


def test_interrupts_pass():
    with pytest.raises(KeyboardInterrupt), decoding("npz"):
        raise KeyboardInterrupt
