import pytest

from msajax.data.errors import DataError
from msajax.data.formats import budget, columns


def test_what_is_spent_adds_up(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "b").write_bytes(bytes(1000))
    limit = 2**27 + 256 * 2000
    with budget.of(tmp_path.iterdir()):
        budget.spend(limit - 10, "text")
        budget.spend(10, "audio")
        with pytest.raises(
            DataError, match=r"with vision, the file's 2.0 kB would unf"
        ):
            budget.spend(1, "vision")
    with budget.of([tmp_path / "a"]):  # each file has a budget of its own
        budget.spend(limit - 256_000, "text")
        with pytest.raises(DataError, match="to 9,223,372,036,855 MB of memory"):
            budget.spend(2**200, "text")


def test_without_a_file_there_is_no_limit(tmp_path):
    budget.spend(2**100, "x")
    (tmp_path / "a").touch()
    with pytest.raises(KeyError), budget.of([tmp_path / "a"]):
        raise KeyError
    budget.spend(2**100, "x")


def test_a_larger_file_may_unfold_to_more(tmp_path):
    for size, limit in (
        (10**6 - 1, 2**27 + 256 * (10**6 - 1)),
        (10**7, 2**27 + 512 * 10**7),
    ):
        with open(tmp_path / "a", "wb") as file:
            file.truncate(size)
        with budget.of([tmp_path / "a"]):
            budget.spend(limit, "x")
            with pytest.raises(DataError):
                budget.spend(1, "x")


@pytest.mark.parametrize("size", [3 * 10**5, 9 * 10**5, 2 * 10**6, 10**7])
@pytest.mark.parametrize("itemsize, ratio", [(4, 150), (1, 60)])
def test_frames_that_compress_well_are_within_the_budget(
    size, itemsize, ratio, tmp_path
):
    with open(tmp_path / "a", "wb") as file:
        file.truncate(size)
    steps = size * ratio // itemsize // 20
    with budget.of([tmp_path / "a"]):
        budget.spend(size * ratio, "the array of the file")
        columns.spend_features((1, steps, 20), name="audio")
