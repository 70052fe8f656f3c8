"""Writes a small corpus of .mp4 files: a drawn face that speaks with a synthesised voice.

Text, voice and face each carry a part of the sentiment, as in the embedded demo corpus
(msajax/data/demo.py): the transcript has a sentiment word, the pitch and the energy of
the voice change at that word, and the mouth and the brows show a smile or a frown. A few
clips lack the text or a track.
"""

import argparse
import csv
import pathlib
import sys

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

from msajax.data import demo
from msajax.media import files

_EXAMPLES = """examples:
  python tools/make_demo_clips.py --out clips
  python tools/extract_features.py --labels clips/label.csv --media clips/Raw --out clips/features
"""
RATE = 16_000  # samples a second
FRAMES = 10  # pictures a second
SIZE = 96  # pixels of a side
_WORD = 0.16  # seconds
_COLUMNS = (
    *("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V"),
    *("annotation", "mode"),
)
_SPLITS = ("train", "valid", "test")


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="folder to make"
    )
    parser.add_argument("--clips", default="120,30,30", help="of train, valid and test")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        num = [int(n) for n in args.clips.split(",")]
        if len(num) != len(_SPLITS) or min(num) < 1:
            raise ValueError(
                f"--clips is {args.clips}; give three numbers above 0: 120,30,30"
            )
        rows = make(args.out, num=num, seed=args.seed)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(rows)} clips in Raw, their labels in label.csv")
    return 0


def make(
    folder: pathlib.Path, *, num: list[int], seed: int = 0
) -> list[dict[str, object]]:
    """Writes the clips and label.csv of the field's layout.

    Args:
      folder: for label.csv and Raw/<video_id>/<clip_id>.mp4.
      num: clips of train, valid and test.
      seed: another seed is other clips.

    Returns:
      The rows of label.csv.
    """
    rows = []
    for number, (mode, count) in enumerate(zip(_SPLITS, num, strict=True)):
        rng = np.random.default_rng((seed, number))
        hidden = demo.latents(rng, count)
        for i in range(count):
            words, stress = demo.sentence(rng, int(hidden.shown[i, 0]))
            video, clip = f"{mode}_{i // 10}", f"{i % 10 + 1}"
            path = folder / "Raw" / video / f"{clip}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            speaker = np.random.default_rng((seed, number, i // 10))
            sound = voice(rng, speaker, words, stress, level=int(hidden.shown[i, 1]))
            seconds = len(sound) / RATE
            face = pictures(rng, speaker, seconds, level=int(hidden.shown[i, 2]))
            said, heard, shown = hidden.present[i]
            write(
                path,
                pictures=face if shown else None,
                sound=sound if heard else None,
            )
            values = (hidden.label[i], *hidden.own_labels[i])
            labels = [f"{value:g}" for value in values]
            sign = int(np.sign(hidden.label[i]))
            name = ("Neutral", "Positive", "Negative")[sign]
            text = " ".join(words) if said else ""
            cells = (video, clip, text, *labels, name, mode)
            rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    with (folder / "label.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return rows


def voice(
    rng: np.random.Generator,
    speaker: np.random.Generator,
    words: list[str],
    stress: int,
    *,
    level: int,
) -> np.ndarray:
    """A voice whose pitch and energy leave the speaker's own at the stressed word, [T] float32.

    Args:
      rng: of this clip.
      speaker: of all clips of the speaker.
      words: one syllable each.
      stress: position of the stressed word.
      level: -3 to 3.
    """
    seconds = _WORD * (len(words) + 2)
    time = np.arange(int(seconds * RATE)) / RATE
    at = (time - _WORD) / _WORD  # in words
    stressed = np.exp(-0.5 * ((at - stress - 0.5) / 1.2) ** 2)
    own = speaker.uniform(110, 200)
    pitch = own * 2 ** (0.2 * level * stressed - 0.02 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = rng.permutation([500.0, 1500.0, 2500.0])
    sound = np.zeros_like(time)
    for harmonic in range(1, 16):
        frequency = harmonic * own
        gain = sum(np.exp(-(((frequency - f) / 400) ** 2)) for f in formants[:2])
        sound += (0.2 + gain) / harmonic * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(np.pi * (at % 1)), 0, 1) ** 0.5
    spoken = (at > 0) & (at < len(words))
    energy = 0.1 * (1 + (1 + 0.25 * level) * stressed)
    noise = 0.002 * rng.normal(size=len(time))
    return (energy * syllables * spoken * sound / 2 + noise).clip(-1, 1).astype("f4")


def pictures(
    rng: np.random.Generator,
    speaker: np.random.Generator,
    seconds: float,
    *,
    level: int,
) -> np.ndarray:
    """A face on which a smile or a frown comes and goes, [frames, SIZE, SIZE, 3] uint8."""
    frames = max(1, int(seconds * FRAMES))
    apex, width = frames * rng.uniform(0.3, 0.7), rng.uniform(3, 6)
    strength = level / 3 * np.exp(-0.5 * ((np.arange(frames) - apex) / width) ** 2)
    strength += rng.normal(0, 0.05, frames)
    skin, height = int(speaker.integers(150, 230)), speaker.uniform(0.9, 1.1)
    return np.stack([_face(s, skin, height) for s in strength])


def _face(strength: float, skin: int, height: float) -> np.ndarray:
    """One picture: x to the right and y down from the middle of the face, in its radii."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / (SIZE / 2.4) - 1.2
    y = y / height
    picture = np.full((SIZE, SIZE, 3), (40, 60, 90), np.uint8)
    picture[x**2 + y**2 < 1] = (skin, skin * 0.8, skin * 0.65)
    for side in (-1, 1):
        eye = ((x - 0.38 * side) / 0.14) ** 2 + ((y + 0.2) / 0.09) ** 2 < 1
        picture[eye] = (30, 30, 30)
        # The inner end of a brow goes down in a frown.
        inward = -side * (x - 0.38 * side)
        brow = -0.45 - 0.35 * strength * inward
        picture[(np.abs(y - brow) < 0.05) & (np.abs(inward) < 0.22)] = (60, 40, 30)
    mouth = 0.5 + strength * (0.25 - 1.6 * x**2)
    picture[(np.abs(y - mouth) < 0.06) & (np.abs(x) < 0.42)] = (150, 30, 40)
    return picture


def write(
    path: pathlib.Path,
    *,
    pictures: np.ndarray | None = None,
    sound: np.ndarray | None = None,
    fps: int = FRAMES,
    rate: int = RATE,
) -> None:
    """Writes a video file; a track that is None is left out.

    Args:
      path: .mp4, or another format by its suffix.
      pictures: [N, H, W, 3] uint8, sides even.
      sound: [T] or [T, channels] float32.
      fps: pictures a second.
      rate: samples a second.
    """
    av = files.library("av")
    with av.open(str(path), "w") as container:
        tracks = []
        if pictures is not None:
            stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
            stream.height, stream.width = pictures.shape[1:3]
            stream.pix_fmt = "yuv420p"
            shown = (av.VideoFrame.from_ndarray(p, format="rgb24") for p in pictures)
            tracks.append((stream, shown))
        if sound is not None:
            channels = np.atleast_2d(sound.T)
            layout = "mono" if len(channels) == 1 else "stereo"
            stream = container.add_stream("aac", rate=rate, layout=layout)
            spoken = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(channels, np.float32), "fltp", layout
            )
            spoken.sample_rate = rate
            tracks.append((stream, [spoken]))
        for stream, frames in tracks:
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


if __name__ == "__main__":
    sys.exit(main())
