"""Sound to features: any file or track, any rate, mono or stereo; librosa computes them.

CorMulT's log-mel spectrogram is equations 1 to 3 of Li et al., "CorMulT: A
Semi-supervised Modality Correlation-aware Multimodal Transformer for Sentiment
Analysis": the power of a short-time Fourier transform, triangular filters of height 1
between the centres of neighbouring mel bands, and the natural logarithm, which the
paper does not bound: here the power counts as at least 1e-10. Window (Hann) and mel
scale (Slaney's) are librosa's, as the paper names none.
"""

import math
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.data.errors import DataError
from msajax.media import files
from msajax.media.settings import AudioFeatures, describe

# A clip in this field takes seconds; an hour of it would take gigabytes.
LONGEST = 600.0
_BLOCK = 1 << 16  # samples read at once
_UNKNOWN = 1 << 62  # samples, from here on: of a FLAC that was written to a pipe
_FLOOR = 1e-10
# The range of speaking voices, in Hz, and how far below the loudest step (in energy, as a
# ratio of amplitudes) a step has no pitch.
_PITCH = (65.0, 500.0)
_UNVOICED = 0.02


def read(
    path: str | os.PathLike[str], *, rate: int, longest: float = LONGEST
) -> np.ndarray:
    """The sound of an audio file, or of the first audio track of a video.

    Args:
      path: of the file.
      rate: samples a second to resample to.
      longest: seconds that are allowed, which bounds the memory.

    Returns:
      [T] float32 in -1 to 1: the mean of the channels.

    Raises:
      DataError: no file, a damaged one, one without sound, or one that is longer.
    """
    soxr = files.library("soxr")
    path = files.check(path)
    own, blocks = _blocks(path)
    stream = soxr.ResampleStream(own, rate, 1, "float32", "HQ") if own != rate else None
    parts, samples = [], 0
    for block in blocks:
        samples += len(block)
        if samples > longest * own:
            raise DataError(
                f"{path} has more than {longest:g} s of sound, the limit of a clip; cut it "
                "into clips, or raise the limit"
            )
        parts.append(stream.resample_chunk(block) if stream else block)
    if not samples:
        raise DataError(f"{path} has an audio track without samples; record it again")
    if stream:
        parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    wave = np.concatenate(parts)
    length = math.ceil(samples * rate / own)
    if len(wave) < length:
        wave = np.pad(wave, (0, length - len(wave)))
    wave = wave[:length]
    if not np.isfinite(wave).all():
        raise DataError(
            f"{path} has samples that are no numbers (NaN or infinite): it is damaged; "
            "copy or download it again"
        )
    return wave


def _blocks(path: pathlib.Path) -> tuple[int, Iterator[np.ndarray]]:
    """The rate of a file and its samples in mono blocks."""
    soundfile = files.library("soundfile")
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:  # no format of libsndfile, as a video
        found = _decoded(path)
        rate: Any = next(found)
        return rate, found
    return file.samplerate, _of_soundfile(file, path)


def _of_soundfile(file: Any, path: pathlib.Path) -> Iterator[np.ndarray]:
    import soundfile

    samples = 0
    with file:
        try:
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                samples += len(block)
                yield block.mean(axis=1)
        except soundfile.LibsndfileError as error:
            raise DataError(
                f"{path} ({path.stat().st_size} bytes) cannot be decoded: it is truncated "
                f"or damaged ({error}); copy or download it again"
            ) from error
        stated = file.frames if file.frames < _UNKNOWN else samples
        if files.is_short(samples / file.samplerate, stated / file.samplerate):
            raise DataError(
                f"{path} is truncated: it has {samples} of {stated} samples; copy or "
                "download it again"
            )


def _decoded(path: pathlib.Path) -> Iterator[Any]:
    """The rate of the first audio track, then its mono blocks."""
    av = files.library("av")
    with files.opened(path) as container:
        stream = files.track(container, "audio", path)
        yield stream.rate
        planar = av.AudioResampler(format="fltp", rate=stream.rate)
        samples = 0
        for frame in container.decode(stream):
            for part in planar.resample(frame):
                samples += part.samples
                yield part.to_ndarray().mean(axis=0)
        files.check_whole(stream, samples / stream.rate, path)


def is_silent(wave: np.ndarray) -> bool:
    """Whether a wave has no sound: below the last bit of 16."""
    return bool(np.abs(wave).max() < 2**-15)


def extract(wave: np.ndarray, settings: AudioFeatures) -> np.ndarray:
    """The features of a wave.

    Args:
      wave: [T] float32 at `settings.rate`.
      settings: what to compute.

    Returns:
      [L, D] float32; L = 1 + T // hop, of raw waves T.

    Raises:
      ValueError: openSMILE is asked for and not installed; the features are not finite.
    """
    if settings.kind == "wave":
        return wave[:, None].astype(np.float32)
    files.library("librosa")
    padded = np.pad(wave, (0, max(0, settings.window - len(wave))))
    with warnings.catch_warnings():
        # On the shortest and on silent clips librosa warns of what cannot matter there.
        warnings.simplefilter("ignore")
        values = _KINDS[settings.kind](padded, settings)
    values = np.ascontiguousarray(values.T, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError(
            f"the audio features {settings.kind} are not finite: the samples reach "
            f"{np.abs(wave).max():.3g}, and 1 is full scale; write the sound again"
        )
    return values


def check(settings: AudioFeatures) -> None:
    """Tries settings on a second of silence; librosa keeps what it compiles for the clips that follow.

    Raises:
      ValueError: a value that librosa refuses, or openSMILE is not installed.
    """
    try:
        extract(np.zeros(settings.rate, np.float32), settings)
    except ValueError:
        raise
    except Exception as error:  # librosa.ParameterError is no ValueError
        raise ValueError(
            f"librosa refuses the features {describe(settings)}: {error}; set other values"
        ) from error


def mel(wave: np.ndarray, s: AudioFeatures) -> np.ndarray:
    """Log-mel spectrogram, [bands, L]."""
    from librosa import feature

    power = feature.melspectrogram(
        y=wave, sr=s.rate, n_fft=s.window, hop_length=s.hop, n_mels=s.bands, norm=None
    )
    return np.log(np.maximum(power, _FLOOR))


def mfcc(wave: np.ndarray, s: AudioFeatures) -> np.ndarray:
    """MFCC and their derivatives, [coefficients * (1 + deltas), L]."""
    from librosa import feature

    values = feature.mfcc(
        y=wave,
        sr=s.rate,
        n_mfcc=s.coefficients,
        n_fft=s.window,
        hop_length=s.hop,
        n_mels=s.bands,
    )
    orders = range(1, s.deltas + 1)
    # "nearest" also takes clips that are shorter than the filter.
    deltas = [feature.delta(values, order=i, mode="nearest") for i in orders]
    return np.concatenate([values, *deltas])


def sims(wave: np.ndarray, s: AudioFeatures) -> np.ndarray:
    """The audio of CH-SIMS, [coefficients + 1 + 12, L]."""
    from librosa import feature

    parts = (
        mfcc(wave, s),
        _crossings(wave, s),
        feature.chroma_cqt(y=wave, sr=s.rate, hop_length=s.hop),
    )
    steps = min(part.shape[1] for part in parts)
    return np.concatenate([part[:, :steps] for part in parts])


def prosody(wave: np.ndarray, s: AudioFeatures) -> np.ndarray:
    """F0 in Hz (YIN; 0 where the voice is silent), energy (RMS), zero-crossing rate: [3, L]."""
    import librosa

    low, high = _PITCH
    pitch = librosa.yin(
        wave, fmin=low, fmax=high, sr=s.rate, frame_length=s.window, hop_length=s.hop
    )
    energy = librosa.feature.rms(y=wave, frame_length=s.window, hop_length=s.hop)
    voiced = energy[0] > max(_UNVOICED * energy.max(), 2**-15)
    return np.concatenate(
        [(pitch * voiced)[None], energy, _crossings(wave, s)], dtype=np.float32
    )


def _crossings(wave: np.ndarray, s: AudioFeatures) -> np.ndarray:
    from librosa import feature

    return feature.zero_crossing_rate(wave, frame_length=s.window, hop_length=s.hop)


def egemaps(wave: np.ndarray, s: AudioFeatures) -> np.ndarray:
    """The low-level descriptors of eGeMAPSv02, [25, L], 100 a second.

    The package opensmile is not among our dependencies: audEERING's licence allows
    research and no commercial use.
    """
    try:
        import opensmile  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"the features egemaps need the package opensmile, which cannot be imported "
            f"({error}); pip install opensmile, whose licence allows research and no "
            "commercial use, or take prosody or mfcc"
        ) from error
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )
    return smile.process_signal(wave, s.rate).to_numpy().T


_KINDS = {
    "mel": mel,
    "mfcc": mfcc,
    "sims": sims,
    "prosody": prosody,
    "egemaps": egemaps,
}
