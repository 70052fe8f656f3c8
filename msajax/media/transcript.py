"""What is said in a clip: a text, a .txt file, subtitles cut to the clip, or a label csv."""

import html
import math
import os
import pathlib
import re
from typing import NamedTuple

from msajax.data.errors import DataError
from msajax.data.formats import tables
from msajax.data.formats.decode import Decoder
from msajax.media import files

SUBTITLES = (".srt", ".vtt")
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_CUE = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")


class Cue(NamedTuple):
    """A subtitle.

    Attributes:
      start, end: seconds.
      text: without markup, in one line.
    """

    start: float
    end: float
    text: str


def read(
    source: str | os.PathLike[str],
    *,
    start: float = 0.0,
    end: float = math.inf,
    encoding: str = "",
) -> str:
    """A transcript.

    Args:
      source: the text itself, or the path of a .txt, .srt or .vtt file.
      start, end: of the clip in the video that subtitles belong to, in seconds. Of a
        subtitle that begins or ends outside the words are kept that fall inside, as if
        all took the same time.
      encoding: of a file that is no UTF-8.

    Returns:
      The words with single spaces between them.

    Raises:
      DataError: no such file, or nothing is said.
    """
    suffix = pathlib.Path(source).suffix.lower() if len(str(source)) < 4096 else ""
    if suffix in SUBTITLES:
        text = cut(cues(source, encoding=encoding), start=start, end=end)
        what = f"{source} has no words from {start:g} to {end:g} s"
    elif suffix == ".txt" or isinstance(source, os.PathLike):
        text, what = _text(source, encoding), f"{source} has no words"
    else:
        text, what = str(source), "the transcript has no words"
    if not (words := text.split()):
        raise DataError(f"{what}; give what is said in the clip")
    return " ".join(words)


def of_csv(path: str | os.PathLike[str], *, encoding: str = "") -> dict[str, str]:
    """The transcripts of a label.csv by id, `video_id$_$clip_id`.

    Raises:
      DataError: a missing column, or an id that occurs twice.
    """
    found: dict[str, str] = {}
    needed = ("video_id", "clip_id", "text")
    for row in tables.rows(files.check(path), needed, decoder=Decoder(encoding)):
        name = f"{row['video_id']}$_${row['clip_id']}"
        if name in found:
            raise DataError(
                f"{row.place}: the clip {row['clip_id']} of {row['video_id']} is there "
                "twice; ids must be unique, so remove one of the rows"
            )
        found[name] = row["text"]
    return found


def cues(path: str | os.PathLike[str], *, encoding: str = "") -> list[Cue]:
    """The subtitles of an .srt or .vtt file in their order.

    Raises:
      DataError: no such file, or one without subtitles.
    """
    found: list[Cue] = []
    for block in re.split(r"\n[ \t]*\n", _text(path, encoding)):
        lines = block.strip("\n").split("\n")
        for i, line in enumerate(lines):
            if match := _CUE.match(line):
                text = " ".join(lines[i + 1 :])
                text = html.unescape(_MARKUP.sub("", text))
                times = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
                found.append(Cue(*times, " ".join(text.split())))
                break
    if not found:
        raise DataError(
            f"{path} has no subtitles, lines such as 00:00:01,000 --> 00:00:02,500 with "
            "the text below; give an .srt or .vtt file, or the text itself"
        )
    return found


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    whole = 3600 * int(hours) + 60 * int(minutes) + int(seconds)
    return whole + float(f"0.{fraction}")


def cut(subtitles: list[Cue], *, start: float, end: float) -> str:
    """The words that are said between two times."""
    found: list[str] = []
    for cue in subtitles:
        words = cue.text.split()
        for i, word in enumerate(words):
            time = cue.start + (i + 0.5) / len(words) * (cue.end - cue.start)
            if start <= time < end:
                found.append(word)
    return " ".join(found)


def _text(path: str | os.PathLike[str], encoding: str) -> str:
    path = files.check(path)
    text = Decoder(encoding).file(path.read_bytes(), name=str(path))
    return text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
