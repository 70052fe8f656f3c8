"""What was extracted from a clip and how: saved with the features, compared when a run predicts.

Features of other settings have other meanings even where their shapes agree (another
sampling rate, another window), so a description goes with every file of features.
"""

import dataclasses
import json
from typing import Annotated, Any, Literal, TypeVar, get_args

import numpy as np
from annotated_types import Ge, Le

from msajax.data import json_file
from msajax.data.errors import DataError
from msajax.data.spec import suggest

AudioKind = Literal["mel", "mfcc", "sims", "prosody", "egemaps", "wave"]
VisionKind = Literal["resnet50", "grey", "openface", "openface_v2", "files"]

_Rate = Annotated[int, Ge(1000), Le(192_000)]
_Count = Annotated[int, Ge(1), Le(1 << 16)]


@dataclasses.dataclass(frozen=True)
class AudioFeatures:
    """Settings of the audio features; the defaults are those of librosa.

    Attributes:
      kind: `mel` (log-mel spectrogram, CorMulT's equations 1 to 3), `mfcc`, `sims` (the 33
        of CH-SIMS: 20 MFCC, zero-crossing rate, 12 chroma of a constant-Q transform),
        `prosody` (F0 in Hz, energy, zero-crossing rate), `egemaps` (the 25 low-level
        descriptors of openSMILE's eGeMAPSv02) or `wave` (the samples themselves).
      rate: samples a second; the sound is resampled to it.
      window: samples of a window, and length of its Fourier transform.
      hop: samples from one step to the next.
      bands: mel bands of `mel` and of the spectrum behind the MFCC.
      coefficients: MFCC.
      deltas: 1 adds the first derivatives over time of the MFCC, 2 the second ones too.
    """

    kind: AudioKind
    rate: _Rate = 22_050
    window: _Count = 2048
    hop: _Count = 512
    bands: _Count = 128
    coefficients: _Count = 20
    deltas: Annotated[int, Ge(0), Le(2)] = 0

    @property
    def seconds(self) -> float:
        """From one step to the next."""
        if self.kind == "egemaps":
            return 0.01
        return (1 if self.kind == "wave" else self.hop) / self.rate


@dataclasses.dataclass(frozen=True)
class VisionFeatures:
    """Settings of the vision features.

    Attributes:
      kind: `resnet50` (pooled, 2048), `grey` (a small grey picture), `openface` and
        `openface_v2` (the 709 and 177 columns of CH-SIMS and CH-SIMS v2 of OpenFace's
        csv), or `files` (an npy or npz file of your own for each clip).
      rate: pictures a second that are taken of the video; 0 where it is that of the files.
      size: pixels of a picture's side.
      weights: sha256 of the network's weights; '' where there are none.
      name: of the features in your own files, which nothing else tells apart.
    """

    kind: VisionKind
    rate: Annotated[float, Ge(0), Le(1000)] = 0.0
    size: Annotated[int, Ge(0), Le(4096)] = 0
    weights: str = ""
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each feature over the steps of the training split.

    Attributes:
      mean, std: D numbers each; a feature that is constant has the deviation 1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Features [L, D] as deviations from the mean."""
        return ((values - np.array(self.mean)) / np.array(self.std)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MediaFeatures:
    """Settings of a whole file of features.

    Attributes:
      audio, vision: None for a modality that was left out.
      per_word: whether a step is the mean over a word (the field's "aligned").
      standard: by modality what its features were standardized by; {} where they are not.
    """

    audio: AudioFeatures | None = None
    vision: VisionFeatures | None = None
    per_word: bool = False
    standard: dict[str, Standard] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON, which `of_json` reads."""
        return json.dumps(dataclasses.asdict(self))


# What a kind alone means.
AUDIO: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in get_args(AudioKind)},
    "wave": {"rate": 16_000},
    "egemaps": {"rate": 16_000},
}
# The settings that a kind reads, beside its rate.
_READ = {
    "mel": ("window", "hop", "bands"),
    "mfcc": ("window", "hop", "bands", "coefficients", "deltas"),
    "sims": ("window", "hop", "bands", "coefficients", "deltas"),
    "prosody": ("window", "hop"),
}
VISION: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in get_args(VisionKind)},
    "resnet50": {"rate": 5.0, "size": 224},
    "grey": {"rate": 10.0, "size": 16},
}
_T = TypeVar("_T", AudioFeatures, VisionFeatures)


def audio(text: str) -> AudioFeatures:
    """Settings by a text: 'mel', or 'mel:bands=64,rate=16000'.

    Raises:
      ValueError: no such kind, setting or value, or one that this kind does not read.
    """
    found = _parse(text, AudioFeatures, AUDIO)
    read = ("rate", *_READ.get(found.kind, ()))
    for part in filter(None, text.partition(":")[2].split(",")):
        if (key := part.partition("=")[0].strip()) not in read:
            raise ValueError(
                f'"{text}": the features {found.kind} do not read "{key}", only '
                f"{', '.join(read)}; leave it out"
            )
    if "coefficients" in read and found.coefficients > found.bands:
        raise ValueError(
            f'"{text}": {found.bands} mel bands have no {found.coefficients} coefficients; '
            "set fewer, or more bands"
        )
    return found


def vision(text: str) -> VisionFeatures:
    """Settings by a text: 'resnet50', or 'resnet50:rate=2.5'.

    Raises:
      ValueError: no such kind, setting or value.
    """
    found = _parse(text, VisionFeatures, VISION)
    if found.kind in ("resnet50", "grey") and not (found.rate and found.size):
        raise ValueError(
            f"{text}: rate and size are {found.rate:g} and {found.size}; both must be above 0"
        )
    return found


def _parse(text: str, kind: type[_T], kinds: dict[str, dict[str, Any]]) -> _T:
    name, _, rest = text.partition(":")
    if name not in kinds:
        raise ValueError(f'there are no features "{name}"{suggest(name, kinds)}')
    values = {"kind": name, **kinds[name]}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(
                f'"{part}" of "{text}" sets nothing; write {name}:key=value,key=value'
            )
        known = [field.name for field in dataclasses.fields(kind)]
        if (key := key.strip()) not in known:
            raise ValueError(
                f'features "{text}": there is no setting "{key}"{suggest(key, known)}'
            )
        values[key] = value.strip()
    try:
        return json_file.check(values, kind)
    except DataError as error:
        raise ValueError(f'features "{text}": {error}') from error


def of_json(text: str, *, name: str) -> MediaFeatures:
    """Settings that `to_json` wrote; name stands for their place in messages.

    Raises:
      DataError: the text is damaged, or of another version.
    """
    advice = "extract the features again (tools/extract_features.py)"
    return json_file.parse(text, MediaFeatures, name=name, advice=advice)


def describe(settings: AudioFeatures | VisionFeatures | None) -> str:
    """Settings in words: 'mel (rate=22050, window=2048, ...)'."""
    if settings is None:
        return "none"
    values = dataclasses.asdict(settings)
    kind = values.pop("kind")
    shown = (f"{key}={str(value)[:12]}" for key, value in values.items() if value)
    return f"{kind} ({', '.join(shown)})"


def check_same(trained: MediaFeatures, given: MediaFeatures) -> None:
    """Refuses features that differ from those that a run was trained on.

    Raises:
      ValueError: names the modality and shows both settings.
    """
    for modality in ("audio", "vision"):
        old, new = getattr(trained, modality), getattr(given, modality)
        if old != new:
            raise ValueError(
                f"the {modality} features are {describe(new)}, but the run was trained on "
                f"{describe(old)}; extract them with the settings of the training data"
            )
    if trained.standard != given.standard:
        shown = [", ".join(sorted(x.standard)) or "none" for x in (given, trained)]
        raise ValueError(
            f"the standardized features are: {shown[0]}, and those of the training: "
            f"{shown[1]}; where these are the same, the means are those of other clips. Give "
            "clips to predict, or features that were extracted with those of the training"
        )
    if trained.per_word != given.per_word:
        names = {True: "one for each word", False: "one for each step in time"}
        raise ValueError(
            f"the features are {names[given.per_word]}, but those of the training were "
            f"{names[trained.per_word]}; extract them in the same way"
        )
