"""A clip to what the page shows: score, contributions, curve over time, frames and spectrogram."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from msajax.media import files, openface, settings, video
from msajax.media.settings import MediaFeatures
from msajax.report.results import ClipPrediction
from msajax.serve import pictures

if TYPE_CHECKING:  # it imports jax
    from msajax.run.clip import Predictor
    from msajax.run.clip_reader import Sample

_POINTS = 12  # of the curve
_FRAMES = 8
_LARGEST = 112  # pixels of a frame's side on the page
# Audio features that are all of the same unit.
_ONE_UNIT = ("mel",)
_Report = dict[str, Any]


class Scorer:
    """Scores clips for the page; threads may call it together.

    Args:
      predictor: of the run.
      weights: of the network of pictures, for such features.
      speech_model: folder of a model that writes down what is said, where a visitor types
        nothing.
      longest: seconds that a clip may take.

    Raises:
      ValueError: the features of the run need files that a visitor of the page has not,
        or weights are of another network.
    """

    def __init__(
        self,
        predictor: "Predictor",
        *,
        weights: pathlib.Path | None = None,
        speech_model: pathlib.Path | None = None,
        longest: float,
    ):
        vision = predictor.settings.vision
        kind = vision.kind if vision else "none"
        if kind in openface.SUFFIXES or predictor.settings.per_word:
            what = "times of words" if predictor.settings.per_word else kind
            raise ValueError(
                f"the run reads features of files that are made beside a clip ({what}), "
                "which the page cannot make; score such clips by --mode predict --media"
            )
        if (weights is None) == (kind == "resnet50"):
            missing = f"--weights is needed for {kind}: name the file of the network"
            beside = (
                f"--weights is of no use: the vision features are {kind}; leave it out"
            )
            raise ValueError(missing if weights is None else beside)
        self._predictor, self._longest = predictor, longest
        predictor.load(weights=weights, speech_model=speech_model)
        self._files = {"weights": weights, "speech_model": speech_model}

    def __call__(
        self, path: pathlib.Path, said: pathlib.Path | None, check: Callable[[], None]
    ) -> _Report:
        """What the page shows of a clip.

        Args:
          path: of the clip.
          said: a .txt file of the transcript; None where it is not known.
          check: raises where the visitor has gone.

        Raises:
          ValueError: the clip cannot be read.
        """
        with files.opened(path):  # where only text is read, nothing else opens it
            check()
        sample = self._predictor.read(
            path, said, name="clip", longest=self._longest, **self._files
        )
        check()
        (made,) = self._predictor.score([sample])
        check()
        start = time.perf_counter()
        curve = self._curve(sample, made, check)
        seconds = {**made.seconds, "curve": time.perf_counter() - start}
        check()
        start = time.perf_counter()
        shown = {
            "sound": _sound(made, self._predictor),
            "frames": _frames(path, made, self._predictor.settings),
        }
        seconds["pictures"] = time.perf_counter() - start
        return {**_figures(made), "curve": curve, **shown, "seconds": seconds}

    def _curve(
        self, sample: "Sample", made: ClipPrediction, check: Callable[[], None]
    ) -> list[list[float | None]]:
        """[seconds, score] of the clip's beginnings; the last one is the whole clip."""
        found: list[list[float | None]] = []
        for seconds, part in beginnings(sample, self._predictor):
            check()
            # One after the other, by the program that is compiled for the clip.
            (there,) = self._predictor.score([part])
            score = there.probabilities.get(made.label, there.score)
            found.append([seconds, _number(score)])
        return found


def beginnings(
    sample: "Sample", predictor: "Predictor"
) -> list[tuple[float, "Sample"]]:
    """The first twelfth of a clip, two twelfths, ... and the whole, each with all of its words.

    Returns:
      Their seconds and the samples; [] where there is neither sound nor picture.
    """
    steps, read = {}, predictor.settings
    if read.audio and sample.features.audio.size:
        steps["audio"] = predictor.audio_seconds
    if read.vision and sample.features.vision.size:
        steps["vision"] = 1 / read.vision.rate
    if not steps:
        return []
    ends = {m: len(getattr(sample.features, m)) * step for m, step in steps.items()}
    found = []
    for number in range(1, _POINTS + 1):
        seconds = max(ends.values()) * number / _POINTS
        cut = {
            m: getattr(sample.features, m)[: max(1, math.ceil(seconds / step - 1e-6))]
            for m, step in steps.items()
        }
        found.append(
            (seconds, sample._replace(features=sample.features._replace(**cut)))
        )
    return found


def _figures(made: ClipPrediction) -> _Report:
    """The figures of a prediction; what is no number becomes null."""
    found: _Report = {
        field.name: getattr(made, field.name)
        for field in dataclasses.fields(made)
        if field.name not in ("id", "audio", "vision")
    }
    found["contributions"] = made.contributions
    for key, value in found.items():
        if isinstance(value, Mapping):
            found[key] = {name: _number(x) for name, x in value.items()}
    return found | {"score": _number(made.score)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sound(made: ClipPrediction, predictor: "Predictor") -> _Report | None:
    """The picture of the audio features as the system got them."""
    read = predictor.settings
    if read.audio is None or not made.audio.size:
        return None
    values = np.nan_to_num(made.audio)
    if values.shape[1] == 1:
        image = pictures.wave(values[:, 0])
    else:
        own = read.audio.kind not in _ONE_UNIT
        image = pictures.heat_map(values, own_scales=own)
    return {
        "picture": pictures.data_url(image),
        "seconds": len(values) * predictor.audio_seconds,
        "what": settings.describe(read.audio),
    }


def _frames(
    path: pathlib.Path, made: ClipPrediction, read: MediaFeatures
) -> _Report | None:
    """Some of the frames that were read, decoded again in the same way."""
    vision = read.vision
    if vision is None or not (count := len(made.vision)):
        return None
    grey = vision.kind == "grey"
    shown = video.pictures(
        path,
        rate=vision.rate,
        size=min(vision.size, _LARGEST),
        margin=1.0 if grey else video.MARGIN,
        grey=grey,
    )
    wanted = {int(i) for i in np.linspace(0, count - 1, min(_FRAMES, count))}
    found = []
    for number, picture in zip(range(count), shown, strict=False):
        if number in wanted:
            found.append([number / vision.rate, pictures.data_url(picture)])
    return {"pictures": found, "count": count, "what": settings.describe(vision)}
