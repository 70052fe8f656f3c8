import pytest

from msajax.data.errors import DataError
from msajax.data.formats import tables
from msajax.data.formats.decode import Decoder


def test_encodings_and_quotes(write):
    content = 'a, b\r\n"x, ""y""\nz",1\r\n\r\n’ü 我,2\n'
    rows = [{"a": 'x, "y"\nz', "b": "1"}, {"a": "’ü 我", "b": "2"}]
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path = write(content.encode(encoding))
        assert tables.header(path) == ["a", "b"]
        assert tables.rows(path, ["a"]) == rows
    for encoding in ("gb18030", "utf-16-le", "utf-16-be"):
        path = write(content.encode(encoding))
        assert tables.header(path, encoding) == ["a", "b"]
        assert tables.rows(path, ["a"], decoder=Decoder(encoding)) == rows


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_separators(separator, write):
    lines = ["a|b|c", '1|"x|y"|2', "3,5|z|4"]
    text = "\r\n".join(lines).replace("3,5", "'" if separator == "," else "3,5")
    path = write(text.replace("|", separator).encode())
    assert tables.header(path) == ["a", "b", "c"]
    first, second = tables.rows(path, ["c"])
    assert first == {"a": "1", "b": f"x{separator}y", "c": "2"}
    assert second["b"] == "z"


def test_windows_bytes_between_utf_8(write):
    # An apostrophe as UTF-8, as Windows wrote it, and as latin-1 made into UTF-8.
    line = b"\xe2\x80\x99 \x92 \xc2\x92 \xc3\xa9 \xe9 \x81\n"
    path = write(b"a\n" + line + b"more of the same text\n" * 10)
    decoder = Decoder()
    found = tables.rows(path, [], decoder=decoder)[0]["a"]
    assert found == "’ ’ ’ é é \N{REPLACEMENT CHARACTER}"
    (note,) = decoder.notes
    assert "Windows-1252" in note and "4 bytes in 1 of 12 lines of file.pkl" in note


def test_bad_tables(write):
    with pytest.raises(DataError, match='the column "b" is missing; the file has: a$'):
        tables.rows(write(b"a\n1\n"), ["b"])
    with pytest.raises(
        DataError, match="row 3 of file.pkl has 1 cells, but the header has 2; a file"
    ):
        tables.rows(write(b"a,b\n1,2\n3\n"), [])
    with pytest.raises(
        DataError, match="damaged csv: line 2: a cell begins with a quo"
    ):
        tables.rows(write(b'a,b\n1,"2\n'), [])
    with pytest.raises(DataError, match="csv: line 3: text follows the quote"):
        tables.rows(write(b'a,b\n1,2\n"1"2,3\n'), [])
    with pytest.raises(DataError, match="file has: none"):
        tables.rows(write(b""), ["a"])
    (_, row) = tables.rows(write(b"a\n1\n\n\nx\n"), [], decoder=Decoder())
    with pytest.raises(
        DataError, match='row 5 of file.pkl: a is "x", expected a number'
    ):
        tables.number(row, "a")
