import pathlib

import pytest

from msajax.data.errors import DataError
from msajax.media import transcript

SRT = """1
00:00:01,000 --> 00:00:03,000
<i>one two</i>
three four

2
00:00:03,500 --> 00:00:04,000
{\\an8}five &amp; six
"""
VTT = """WEBVTT

NOTE 00:00 is no cue

a name
00:01.000 --> 00:03.000 align:start
<v Ann>one <00:02.000>two</v>
three four

00:00:03.500 --> 01:00:04.000
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_subtitles(tmp_path, ending):
    path = tmp_path / "a b 你好.srt"
    path.write_bytes(("\ufeff" + SRT).replace("\n", ending).encode())
    assert transcript.cues(path) == [
        (1, 3, "one two three four"),
        (3.5, 4, "five & six"),
    ]
    assert transcript.read(path) == "one two three four five & six"
    path = tmp_path / "a.vtt"
    path.write_bytes(VTT.replace("\n", ending).encode())
    assert transcript.cues(path) == [(1, 3, "one two three four"), (3.5, 3604, "")]


@pytest.mark.parametrize(
    "start,end,expected",
    [
        (2.6, 9, "four five & six"),
        (0, 2, "one two"),
        (1.5, 3.6, "two three four five"),
        (3.2, 9, "five & six"),
    ],
)
def test_subtitles_are_cut_to_the_clip(tmp_path, start, end, expected):
    path = tmp_path / "a.srt"
    path.write_text(SRT)
    assert transcript.read(path, start=start, end=end) == expected


def test_texts(tmp_path):
    assert transcript.read(" it is\ngood ") == "it is good"
    assert transcript.read("x" * 9999) == "x" * 9999
    path = tmp_path / "a.txt"
    path.write_bytes("很 好\n".encode("gbk"))
    assert transcript.read(path, encoding="gbk") == "很 好"
    with pytest.raises(DataError, match="no UTF-8"):
        transcript.read(path)


def test_a_label_csv(tmp_path):
    path = tmp_path / "label.csv"
    path.write_text("video_id,clip_id,text\nv,1,good\nv,2,\n")
    assert transcript.of_csv(path) == {"v$_$1": "good", "v$_$2": ""}
    path.write_text("video_id,clip_id,text\nv,1,good\nv,1,bad\n")
    with pytest.raises(DataError, match="row 3 .*clip 1 of v is there twice"):
        transcript.of_csv(path)


@pytest.mark.parametrize(
    "source,message",
    [
        ("  ", "the transcript has no words; give"),
        ("none.txt", "no file none.txt"),
        (pathlib.Path("none"), "no file none"),
        ("{}/a.srt", "no words from 0 to 0.5 s"),
        ("{}/b.srt", "has no subtitles"),
    ],
)
def test_bad_transcripts(tmp_path, source, message):
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "b.srt").write_text("hello")
    if isinstance(source, str):
        source = source.format(tmp_path)
    with pytest.raises(DataError, match=message):
        transcript.read(source, end=0.5)
