import dataclasses
from typing import Annotated

import annotated_types
import pytest

from msajax.data import json_file
from msajax.data.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    dims: tuple[int, int, int]
    count: Annotated[int, annotated_types.Gt(0)] = 1
    span: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    sums: dict[str, int] = dataclasses.field(default_factory=dict)


def parse(text, **options):
    return json_file.parse(text, Kind, name="spec.json", advice="copy it", **options)


def test_a_file_that_fits(tmp_path):
    file = tmp_path / "spec.json"
    file.write_text('{"dims": [1, 2, 3], "span": [-3, 3.5], "names": ["a"]}')
    value = json_file.read(file, Kind, advice="copy it")
    assert value == Kind(dims=(1, 2, 3), span=(-3.0, 3.5), names=("a",))
    assert isinstance(value.span[0], float)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("", "spec.json is no JSON"),
        ("{", "spec.json is no JSON"),
        ("[" * 10**5, "spec.json is no JSON"),
        (b"\xff\xfe{", "spec.json is no JSON"),
        ('{"dims": [1, 2, 3], "span": [NaN, 1]}', "spec.json is no JSON"),
        ("[]", r"spec.json: the content is \[\]: input should be an object"),
        ("null", "the content is None"),
        ("3", "the content is 3"),
        ("{}", 'spec.json: "dims" is missing; copy it'),
        ('{"dims": null}', '"dims" is None'),
        ('{"dims": [1, 2]}', '"dims.2" is missing'),
        ('{"dims": [1, 2, "3"]}', "\"dims.2\" is '3': input should be a valid integer"),
        ('{"dims": [1, 2, 3.5]}', '"dims.2" is 3.5'),
        ('{"dims": [1, 2, true]}', '"dims.2" is True'),
        ('{"dims": {"0": 1}}', '"dims" is'),
        ('{"dims": [1, 2, 3], "count": -1}', '"count" is -1: .* greater than 0'),
        ('{"dims": [1, 2, 3], "sums": {"a": "b"}}', '"sums.a" is'),
        ('{"dims": [1, 2, 3], "other": 1}', '"other" is no known key'),
        ('{"count": 0}', r"\(and 1 more\)"),
    ],
)
def test_what_is_refused_is_named(text, expected):
    with pytest.raises(DataError, match=expected) as caught:
        parse(text)
    assert str(caught.value).endswith("; copy it")


@dataclasses.dataclass(frozen=True)
class Checked:
    low: int
    high: int

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError(f"low is {self.low}, above high, which is {self.high}")


def test_a_check_of_a_dataclass_speaks_for_itself():
    with pytest.raises(DataError) as error:
        json_file.parse(
            '{"low": 2, "high": 1}', Checked, name="a.json", advice="mend it"
        )
    assert str(error.value) == "a.json: low is 2, above high, which is 1; mend it"


def test_foreign_files_may_have_more_keys():
    assert parse('{"dims": [1, 2, 3], "x": 1}', extra="ignore").dims == (1, 2, 3)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match="none.json cannot be read .No such file"):
        json_file.read(tmp_path / "none.json", Kind, advice="copy it")
