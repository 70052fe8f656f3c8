import pytest

from msajax.data import tables
from msajax.data.errors import DataError


def test_encodings_and_quotes(write):
    content = 'a, b\r\n"x, ""y""\nz",1\r\n\r\n’ü,2\n'
    for encoding in ("utf-8", "utf-8-sig", "cp1252"):
        path = write(content.encode(encoding))
        assert tables.header(path) == ["a", "b"]
        rows = [{"a": 'x, "y"\nz', "b": "1"}, {"a": "’ü", "b": "2"}]
        assert tables.rows(path, ["a"]) == rows


def test_windows_bytes_between_utf_8(write):
    # An apostrophe as UTF-8, as Windows wrote it, and as latin-1 made into UTF-8.
    path = write(b"a\n\xe2\x80\x99 \x92 \xc2\x92 \xc3\xa9 \xe9 \x81\n")
    assert tables.rows(path, [])[0]["a"] == "’ ’ ’ é é \N{REPLACEMENT CHARACTER}"


def test_bad_tables(write):
    with pytest.raises(DataError, match='the column "b" is missing; the file has: a'):
        tables.rows(write(b"a\n1\n"), ["b"])
    with pytest.raises(DataError, match="row 3 has 1 cells, but the header has 2"):
        tables.rows(write(b"a,b\n1,2\n3\n"), [])
    with pytest.raises(DataError, match="truncated or damaged csv"):
        tables.rows(write(b'a,b\n1,"2\n'), [])
    with pytest.raises(DataError, match="file has: none"):
        tables.rows(write(b""), ["a"])
    with pytest.raises(DataError, match='a is "x", expected a number'):
        tables.number({"a": "x"}, "a")
