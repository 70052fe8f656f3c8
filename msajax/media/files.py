"""Media files opened with care: what is no readable file is said in plain words."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from msajax.data.errors import DataError

# Of FFmpeg's formats those that hold sound or pictures themselves. A playlist would have
# it open other files and addresses.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,flv,asf,ogg,wav,w64,flac,mp3,"
    "aac,aiff,au,caf,amr,ac3,nut,gif,apng"
)
# Of clips, in the order in which they are preferred.
SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv"),
    *(".wav", ".flac", ".mp3", ".ogg", ".m4a"),
)
# Seconds, and share of the whole, that a track may be shorter than its index says.
_SLACK, _SHARE = 0.5, 0.05


def library(name: str, *, extra: str = "media") -> ModuleType:
    """An optional package.

    Args:
      name: of the module.
      extra: of msajax that brings it.

    Raises:
      ValueError: it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"this needs the package {name.split('.')[0]}, which cannot be imported "
            f"({error}); install it: pip install 'msajax[{extra}]'"
        ) from error


def check(path: str | os.PathLike[str]) -> pathlib.Path:
    """The path of a file that exists and is not empty.

    Raises:
      DataError: there is no such file, or it is a folder or has no bytes.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise DataError(
            f"{path} is a folder, expected a media file; give a file's path"
        )
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    if not path.stat().st_size:
        raise DataError(f"{path} has no bytes (zero length); copy or download it again")
    _check_riff(path)
    return path


def _check_riff(path: pathlib.Path) -> None:
    """Refuses a wav or avi file that is shorter than its first bytes say.

    Decoders take what there is of it.
    """
    with path.open("rb") as file:
        start = file.read(8)
    stated = int.from_bytes(start[4:], "little")
    size = path.stat().st_size
    # A stream that is written to a pipe has no size, or the largest.
    if start[:4] == b"RIFF" and size < stated + 7 < 2**31:
        raise DataError(
            f"{path} is truncated: it has {size} of {stated + 8} bytes; copy or download it "
            "again"
        )


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """PyAV's container of a file; errors of FFmpeg within the block become ours.

    Raises:
      DataError: no file, no media file, or a truncated or damaged one.
    """
    av = library("av")
    path = check(path)
    try:
        # An absolute path is a file to FFmpeg, whatever characters it has.
        with av.open(
            str(path.absolute()),
            container_options={"format_whitelist": _FORMATS},
            metadata_errors="replace",
        ) as container:
            yield container
    except (av.error.FFmpegError, EOFError) as error:
        raise DataError(
            f"{path} ({path.stat().st_size} bytes) cannot be decoded: "
            f"{_meaning(str(error))}; copy or download it again, or convert it to mp4"
        ) from error


def _meaning(text: str) -> str:
    if any(part in text for part in ("Invalid data", "Invalid arg", "End of file")):
        return "it is truncated, damaged or no media file"
    return text.split(": ")[0].split("] ")[-1][:200].lower()


def track(container: Any, kind: str, path: str | os.PathLike[str]) -> Any:
    """The first audio or video track of a container.

    Raises:
      NoTrack: there is none.
      DataError: its codec has no decoder here.
    """
    streams = [s for s in container.streams if s.type == kind]
    # A cover picture in an audio file is no video.
    pictures = getattr(container.streams, "attachments", ())
    streams = [s for s in streams if s not in pictures and not _is_cover(s)]
    if not streams:
        kinds = sorted({s.type for s in container.streams}) or ["nothing"]
        raise NoTrack(
            f"{path} has no {kind} track, only {', '.join(kinds)}; give a file with one, or "
            f"leave this modality out"
        )
    if streams[0].codec_context is None:
        raise DataError(
            f"there is no decoder for the {kind} track of {path}: its codec is unknown here, "
            "or the file is damaged; convert it, for example to .mp4 with H.264 and AAC"
        )
    return streams[0]


def _is_cover(stream: Any) -> bool:
    return stream.type == "video" and "attached_pic" in str(stream.disposition)


class NoTrack(DataError):
    """A whole media file that lacks a track: a missing modality, where a system allows for one."""


def check_whole(stream: Any, seconds: float, path: str | os.PathLike[str]) -> None:
    """Refuses a track that ended earlier than the file says.

    Raises:
      DataError: the file was cut off.
    """
    expected = _stated(stream)
    if expected is not None and is_short(seconds, expected):
        raise DataError(
            f"{path} is truncated: its {stream.type} track ends after {seconds:.1f} of "
            f"{expected:.1f} s; copy or download it again"
        )


def is_short(seconds: float, expected: float) -> bool:
    """Whether a track is shorter than expected by more than the slack of encoders."""
    return seconds < expected - max(_SLACK, _SHARE * expected)


def _stated(stream: Any) -> float | None:
    """The seconds that the file says a track has; a recording that was streamed says none."""
    kind = stream.container.format.name
    if any(name in kind for name in ("mp4", "avi")) and stream.duration is not None:
        return float(stream.duration * stream.time_base)
    found = re.fullmatch(
        r"(\d+):(\d+):(\d+(?:\.\d*)?)", stream.metadata.get("DURATION", "")
    )
    if not found:  # of Matroska's tracks
        return None
    hours, minutes, rest = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)
