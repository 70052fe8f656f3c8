"""Text from bytes: UTF-8, UTF-16 with its mark, or the encoding that the user names.

A wrong encoding makes wrong characters without any error, so none is guessed: other bytes
are refused, with the encodings that they are likely in. The one exception is a few
Windows bytes in a UTF-8 text, as MELD's files have: they are read as Windows-1252, and
a note counts them.
"""

import codecs
import collections
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from msajax.data.errors import DataError, decoding, option

# Byte order marks; that of UTF-16 begins that of UTF-32.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Windows bytes in a UTF-8 text: undecodable ones (which "surrogateescape" keeps as
# U+DC80 and up) and those that a converter took for latin-1 (U+0080 to U+009F).
_STRAY = re.compile("[\x80-\x9f\udc80-\udcff]")
_WINDOWS = {}
for _byte in range(0x80, 0x100):
    _WINDOWS[0xDC00 + _byte] = bytes([_byte]).decode("cp1252", "replace")
    if _byte < 0xA0:
        _WINDOWS[_byte] = _WINDOWS[0xDC00 + _byte]

# Quotes, dashes and dots: the same bytes in all Windows encodings of alphabets.
_PUNCTUATION = b"\x82\x84\x85\x8b\x91\x92\x93\x94\x95\x96\x97\x99\x9b\xa0"

# Encodings of languages with more letters than bytes (the first that can read a text
# stands for the others), and the first bytes of their common characters.
_LIKELY = (
    (("euc_kr", "cp949"), 0xB0, 0xC8),  # syllables
    (("gbk", "gb18030"), 0xB0, 0xD7),  # the first level of GB 2312
    (("big5", "cp950"), 0xA4, 0xC6),  # its first level
    (("shift_jis", "cp932"), 0x82, 0x97),  # kana, and the first level of JIS
)
# Letters: neither ASCII nor the punctuation that these languages share.
_LETTER = re.compile("[^\x00-\x7f\u2000-\u206f\u3000-\u303f\uff00-\uff60]")
_SAMPLE = re.compile("[^\x00-\x7f][^\x00-\x1f,;]{0,15}")


def check_encoding(name: str) -> None:
    """Refuses what is no encoding of text; '' stands for none.

    Raises:
      DataError: Python has none of that name.
    """
    if not name:
        return
    try:
        "a".encode(name).decode(name)
    except (LookupError, ValueError) as error:
        raise DataError(
            f'unknown encoding "{ascii(name[:40])[1:-1]}"; give one that Python knows, such '
            "as gbk, gb18030, big5, shift_jis, euc_kr, cp1252 or utf-16-le"
        ) from error


def beginning(content: bytes, encoding: str) -> str:
    """The first bytes of a text file, for its column names: what cannot be read is replaced."""
    codec = _marked(content) or "utf-8-sig"
    if b"\0" in content and codec == "utf-8-sig":
        codec = encoding or _unmarked(content) or codec
    return content.decode(codec, "replace")


class Decoder:
    """Decodes the texts of one file.

    Attributes:
      encoding: of texts that are no UTF-8; '' for none.
    """

    def __init__(self, encoding: str = ""):
        self.encoding = encoding
        # Windows bytes, texts that have some, and all texts, by name and unit.
        self._counts = collections.defaultdict(lambda: np.zeros(3, int))

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each column, or file, that had Windows bytes."""
        return tuple(
            f"read as Windows-1252 (cp1252) because they are not UTF-8: {strays} bytes in "
            f"{some} of {every} {unit} of {name}"
            for (name, unit), (strays, some, every) in self._counts.items()
            if strays
        )

    def file(self, content: bytes, *, name: str) -> str:
        """The text of a whole file.

        Args:
          content: of the file, with or without a byte order mark.
          name: of the file, for notes and errors.

        Raises:
          DataError: the encoding cannot be told, or is not the one that was named.
        """
        if codec := _marked(content):
            with decoding(f"{codec} text"):
                return content.decode(codec)
        (text,) = self._decode([content], name, "lines")
        return text

    def strings(self, values: list[Any], *, name: str) -> list[Any]:
        """The values of a column, bytes among them as text.

        All bytes of a column are in one encoding: a short text in GBK can be valid
        UTF-8 too, so that they are judged together.

        Args:
          values: of any types; all but bytes stay as they are.
          name: of the column, for notes and errors.

        Raises:
          DataError: as `file`.
        """
        found = [value for value in values if isinstance(value, bytes)]
        texts = iter(self._decode(found, name, "texts") if found else ())
        return [next(texts) if isinstance(x, bytes) else x for x in values]

    def _decode(self, parts: Sequence[bytes], name: str, unit: str) -> list[str]:
        whole = b"\n".join(parts)
        zeros = any(b"\0" in part.rstrip(b"\0") for part in parts)  # as in UTF-16
        if zeros or _try(whole, "utf-8") is None:
            if self.encoding:
                return self._named(parts, whole, name, unit)
            if zeros or not _are_few(whole):
                raise _refusal(whole, name, unit)
        texts = [part.decode("utf-8-sig", "surrogateescape") for part in parts]
        return self._windows(texts, name, unit)

    def _named(
        self, parts: Sequence[bytes], whole: bytes, name: str, unit: str
    ) -> list[str]:
        try:
            return [part.decode(self.encoding) for part in parts]
        except ValueError as error:
            raise _refusal(whole, name, unit, self.encoding) from error

    def _windows(self, texts: list[str], name: str, unit: str) -> list[str]:
        """The texts with Windows bytes as characters; counts them."""
        found = [text for text in texts if _STRAY.search(text)]
        every = len(texts)
        if unit == "lines":
            every = sum(text.rstrip("\n").count("\n") + 1 for text in texts)
            found = [line for text in found for line in text.split("\n")]
        strays = [len(_STRAY.findall(text)) for text in found]
        self._counts[name, unit] += (sum(strays), np.count_nonzero(strays), every)
        return [text.translate(_WINDOWS) for text in texts] if found else texts


def _marked(content: bytes) -> str:
    """The codec that a byte order mark names; UTF-8's mark names none."""
    return next((codec for mark, codec in _MARKS if content.startswith(mark)), "")


def _unmarked(content: bytes) -> str:
    """UTF-16's codec where every second byte at the beginning is zero, as of ASCII text, else ''."""
    start = content[:256]
    high, low = start[::2].count(0), start[1::2].count(0)
    if 4 * max(high, low) < len(start):
        return ""
    return "utf-16-le" if low > high else "utf-16-be"


def _are_few(whole: bytes) -> bool:
    """Whether the bytes that are no UTF-8 can be Windows' among UTF-8.

    Characters of several bytes stand side by side; two letters of Windows hardly do,
    in a text that has few of them.
    """
    letters = marks = 0
    for run in re.findall(rb"[\x80-\xff]+", whole):
        strays = [ord(c) & 0xFF for c in _strays(run)]
        own = sum(byte not in _PUNCTUATION for byte in strays)
        if own > 1 or len(strays) > 3:
            return False
        letters, marks = letters + own, marks + len(strays) - own
    return 100 * letters <= len(whole) and 20 * marks <= len(whole)


def _strays(content: bytes) -> list[str]:
    text = content.decode("utf-8", "surrogateescape")
    return [c for c in text if "\udc80" <= c <= "\udcff"]


def _refusal(whole: bytes, name: str, unit: str, encoding: str = "") -> DataError:
    """The error for text that is neither UTF-8 nor in the named encoding."""
    text = whole.decode("utf-8", "surrogateescape")
    strays = len(_strays(whole))
    if 0 < 20 * strays < sum(c > "\x7f" for c in text) - strays:
        first = re.search("[\udc80-\udcff]", text)
        before = text[: first.start() if first else 0].count("\n")
        return DataError(
            f"{name} is UTF-8 text but for {strays} bytes, the first in {unit[:-1]} "
            f"{before + 1}: it is damaged; copy or download it again, or mend it there"
        )
    wrong = (
        f"{name} is text in neither UTF-8 nor {encoding}, the encoding that was named"
    )
    wrong = wrong if encoding else f"{name} is no UTF-8 text"
    found = _likely(whole)
    if not found:
        return DataError(
            f"{wrong}; its encoding cannot be told: save it as UTF-8, or name the "
            f"encoding, {option('encoding', 'NAME')}"
        )
    shown = ", or ".join(f'{codec}, which reads "{sample}"' for codec, sample in found)
    return DataError(
        f"{wrong}; its encoding is likely {shown}. Name the right one: "
        f"{option('encoding', found[0][0])}"
    )


def _likely(whole: bytes) -> list[tuple[str, str]]:
    """The two encodings that make the most sense of bytes, and a sample of each; [] if none does."""
    scores: dict[str, tuple[float, str]] = {}
    for codecs_, low, high in _LIKELY:
        for codec in codecs_:
            if (text := _try(whole, codec)) is not None:
                firsts = [c.encode(codec)[0] for c in _LETTER.findall(text)[:4096]]
                common = sum(low <= byte <= high for byte in firsts)
                scores[codec] = common / max(len(firsts), 1), text
                break
    if (text := _try(whole, "cp1252")) is not None:
        runs = re.findall(rb"[\x80-\xff]+", whole)
        scores["cp1252"] = sum(len(run) == 1 for run in runs) / max(len(runs), 1), text
    if codec := _unmarked(whole):
        scores[codec] = 2.0, whole.decode(codec, "replace")
    best = sorted(scores, key=lambda codec: -scores[codec][0])[:2]
    if not best or scores[best[0]][0] < 0.5:
        return []
    return [(codec, _sample(scores[codec][1])) for codec in best]


def _try(whole: bytes, codec: str) -> str | None:
    try:
        return whole.decode(codec)
    except ValueError:
        return None


def _sample(text: str) -> str:
    found = _SAMPLE.search(text)
    sample = found[0] if found else text[:16]
    return "".join(c if c.isprintable() else "?" for c in sample)
