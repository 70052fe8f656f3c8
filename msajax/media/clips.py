"""The features of one clip: what a corpus is extracted by, and what a prediction reads."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msajax.data.errors import DataError
from msajax.media import audio, openface, video, words
from msajax.media.files import NoTrack
from msajax.media.settings import MediaFeatures, VisionFeatures

if TYPE_CHECKING:  # it imports jax, which most features do without
    from msajax.media.network import PictureNetwork


class Clip(NamedTuple):
    """Features of a clip; [0, 0] for a modality that it lacks or that was not asked for.

    Attributes:
      audio, vision: [L, D] float32.
      notes: what the reader of the results should know.
      seconds: that reading and computing took, by modality.
    """

    audio: np.ndarray
    vision: np.ndarray
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = {}


def extract(
    path: str | os.PathLike[str],
    settings: MediaFeatures,
    *,
    network: "PictureNetwork | None" = None,
    vision_file: str | os.PathLike[str] | None = None,
    word_times: Sequence[words.Word] = (),
    longest: float = audio.LONGEST,
) -> Clip:
    """The features of a clip.

    Args:
      path: video or audio file.
      settings: what to compute.
      network: for `resnet50`.
      vision_file: with OpenFace's rows or your own features, for such settings.
      word_times: of the words, where the settings ask for features per word.
      longest: seconds that a clip may take.

    Raises:
      DataError: the file cannot be read, or has neither of the tracks.
    """
    sound = pictures = np.zeros((0, 0), np.float32)
    notes: list[str] = []
    lacking: list[NoTrack] = []
    start = time.perf_counter()
    if settings.audio:
        try:
            wave = audio.read(path, rate=settings.audio.rate, longest=longest)
        except NoTrack as error:
            lacking.append(error)
            notes.append("no audio track: the modality is missing")
        else:
            sound = audio.extract(wave, settings.audio)
            if settings.per_word:
                sound = words.average(sound, word_times, step=settings.audio.seconds)
            if audio.is_silent(wave):
                notes.append("the audio is silent")
    middle = time.perf_counter()
    if settings.vision:
        try:
            pictures = _vision(path, settings.vision, network, vision_file, longest)
            if settings.per_word:
                step = words.step_of(settings.vision)
                pictures = words.average(pictures, word_times, step=step)
        except NoTrack as error:
            lacking.append(error)
            notes.append("no video track: the modality is missing")
    if lacking and not (sound.size or pictures.size):
        raise lacking[0]
    seconds = {"audio": middle - start, "vision": time.perf_counter() - middle}
    return Clip(sound, pictures, tuple(notes), seconds)


def _vision(
    path: str | os.PathLike[str],
    s: VisionFeatures,
    network: "PictureNetwork | None",
    file: str | os.PathLike[str] | None,
    longest: float,
) -> np.ndarray:
    if s.kind in openface.SUFFIXES:
        if file is None:
            raise ValueError(
                f"the vision features {s.kind} are read from a file for each clip; give its "
                "path"
            )
        if s.kind == "files":
            return openface.read_array(file)
        return openface.read(file, kind=s.kind)
    grey = s.kind == "grey"
    margin = 1.0 if grey else video.MARGIN
    shown = video.pictures(path, rate=s.rate, size=s.size, margin=margin, grey=grey)
    shown = _bounded(shown, int(longest * s.rate) + 1, path)
    if grey:
        pixels = [picture.ravel() / np.float32(255) for picture in shown]
        return np.array(pixels, np.float32)
    if network is None:
        raise ValueError(
            "the vision features resnet50 need the weights of the network; give their path"
        )
    return network(shown)


def _bounded(
    pictures: Iterator[np.ndarray], most: int, path: str | os.PathLike[str]
) -> Iterator[np.ndarray]:
    for number, picture in enumerate(pictures):
        if number >= most:
            raise DataError(
                f"{path} has more than {most} pictures, the limit of a clip; cut it into "
                "clips, or raise the limit"
            )
        yield picture
