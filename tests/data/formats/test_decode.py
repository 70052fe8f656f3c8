"""Text is decoded rightly, decoded with a note, or refused; see the module."""

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.formats.decode import Decoder, check_encoding

TEXTS = {
    "gbk": "video,text\n1,我不想嫁给李茶，因为他是一个很好的人。\n2,今天天气不错\n",
    "big5": "1,我不想嫁給李茶，因為他是一個很好的人\n2,今天天氣不錯\n",
    "shift_jis": "1,私は学生です。東京に住んでいます\n2,カタカナのテスト\n",
    "euc_kr": "1,나는 너를 사랑해요 정말로\n2,안녕하세요\n",
    "cp1252": "1,Je suis très fâché: l'été dernier on a mangé à Paris\n" * 9,
    "utf-16-le": "video,text\n1,我不想嫁给李茶\n",
    "utf-16-be": "video,text\n1,hello\n",
}
both = pytest.mark.parametrize("column", [False, True])


def decoded(content, column=False, encoding=""):
    """The text of a file, or of a column with a text a line, and the notes."""
    decoder = Decoder(encoding)
    if column:
        return "\n".join(decoder.strings(content.split(b"\n"), name="x")), decoder.notes
    return decoder.file(content, name="x"), decoder.notes


@both
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_needs_no_word(encoding, column):
    text = "’é\n我不想嫁给李茶\n안녕"
    for named in ("", "gbk"):  # UTF-8 also where an encoding is named for other files
        assert decoded(text.encode(encoding), column, named) == (text, ())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_needs_no_word(encoding):
    text = "a,b\n我,’"
    assert decoded(text.encode(encoding)) == (text, ())
    with pytest.raises(DataError, match="truncated or damaged utf-(16|32) text"):
        decoded(text.encode(encoding)[:-1])


@pytest.mark.parametrize("encoding", TEXTS)
def test_another_encoding_is_refused_by_name_and_read_where_it_is_named(encoding):
    text = TEXTS[encoding]
    content = text.encode(encoding)
    match = rf"x is no UTF-8 text; its encoding is likely {encoding}, which reads .*"
    match += rf"--config.data.encoding={encoding} \(of a tool: --encoding {encoding}\)$"
    with pytest.raises(DataError, match=match) as error:
        decoded(content)
    if encoding not in ("cp1252", "utf-16-be"):
        first = next(i for i, c in enumerate(text) if c > "\x7f")
        assert text[first : first + 5] in str(error.value)  # to be judged by eye
        assert ", or " in str(error.value)  # the second likely one
    assert len(str(error.value).encode()) < 500
    assert decoded(content, encoding=encoding) == (text, ())


def test_the_bytes_of_a_column_are_judged_together():
    # By itself the second text would be valid UTF-8, of other characters.
    texts = ["我不想嫁", "一", "plain"]
    column = [text.encode("gbk") for text in texts]
    assert column[1].decode() == "һ"
    with pytest.raises(DataError, match="x is no UTF-8 text; .* likely gbk, which"):
        Decoder().strings(column, name="x")
    found = Decoder("gbk").strings([*column, "str", 1.5], name="x")
    assert found == [*texts, "str", 1.5]


def test_a_named_encoding_that_does_not_fit():
    match = "x is text in neither UTF-8 nor euc_kr, the encoding .* likely big5, which"
    with pytest.raises(DataError, match=match):
        decoded(TEXTS["big5"].encode("big5"), encoding="euc_kr")
    for name in ("gkb", "hex", "undefined", "a\0", "x" * 999):
        with pytest.raises(DataError, match="unknown encoding .* such as gbk") as error:
            check_encoding(name)
        assert len(str(error.value)) < 300
    check_encoding("")
    check_encoding("GB18030")


@both
def test_a_few_windows_bytes_are_read_and_counted(column):
    lines = [b"it\x92s all plain text, with no more than " * 3] * 20
    lines += [
        "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode(),
        b"caf\xe9",
        b"a\xc2\x92b",
    ]
    text, notes = decoded(b"\n".join(lines), column)
    assert text.split("\n") == [
        *["it’s all plain text, with no more than " * 3] * 20,
        *("café", "café", "a’b"),
    ]
    unit = "texts" if column else "lines"
    assert notes == (
        "read as Windows-1252 (cp1252) because they are not UTF-8: 62 bytes in 22 of 23 "
        f"{unit} of x",
    )


def test_a_note_counts_all_splits_of_a_column():
    decoder = Decoder()
    for _ in range(2):
        decoder.strings([b"it\x92s " + b"plain" * 9, b"plain"], name="x")
    decoder.strings([b"plain"], name="y")
    (note,) = decoder.notes
    assert note.endswith(": 2 bytes in 2 of 4 texts of x")


@pytest.mark.parametrize(
    "content",
    [
        b"ab \xe9 cd",  # one letter, but of few
        b"plain text " * 99 + b"gr\xfc\xdfe",  # two side by side, as characters of GBK
        b"plain text " * 99 + b"\xce\xd2",
        b"\x92" * 3 + b"a" * 9,
        bytes(range(1, 256)),
    ],
)
def test_other_bytes_are_not_a_few_windows_bytes(content):
    with pytest.raises(DataError, match="x is no UTF-8 text"):
        decoded(content)


def test_a_damaged_text_is_called_damaged():
    content = ("今天天气不错\n" * 50).encode()
    content = content[:600] + b"\xff\xfe" + content[602:]
    match = "x is UTF-8 text but for 6 bytes, the first in line 32: it is damaged; copy"
    with pytest.raises(DataError, match=match):
        decoded(content)


def test_bytes_of_no_language_have_no_likely_encoding():
    content = np.random.default_rng(0).bytes(9999).replace(b"\0", b"")
    with pytest.raises(DataError, match="cannot be told: save it as UTF-8, or name"):
        decoded(content)
