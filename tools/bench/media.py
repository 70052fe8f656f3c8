"""Measures how fast sound and video become features.

    python tools/bench/media.py FOLDER --clips 12

FOLDER has clips, audio or video, in any folders below it. Prints for each kind of audio
features how many seconds of sound are read in a second, for videos the pictures decoded in a
second, and for ResNet-50 with random weights the pictures in a second: alone, with decoding
before it, and with decoding beside it; then how many pictures are decoded while the network
computes. "Of a core" is by the time of the processor, which other programs on the machine do
not change.
"""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from msajax.media import audio, files, settings, video

_RATE, _SIZE = 5.0, 224


def measure(name: str, amount: float, unit: str, work: Callable[[], Any]) -> None:
    """Runs work twice and prints the amount per second of the second time."""
    work()
    clock, core = time.perf_counter(), time.process_time()
    work()
    clock, core = time.perf_counter() - clock, time.process_time() - core
    print(f"{name:28} {amount / clock:9.1f} {unit}; {amount / core:9.1f} of a core")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure the features of clips.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--clips", type=int, default=12, help="of each kind")
    parser.add_argument("--pictures", type=int, default=64, help="of ResNet-50")
    options = parser.parse_args(argv)
    found = sorted(p for p in options.folder.rglob("*") if p.suffix in files.SUFFIXES)
    sounds, videos = [], []
    for path in found:
        with files.opened(path) as container:
            kinds = {stream.type for stream in container.streams}
        for kind, clips in (("audio", sounds), ("video", videos)):
            if kind in kinds and len(clips) < options.clips:
                clips.append(path)
    if not sounds and not videos:
        print(f"{options.folder} has no clips; give a folder of some", file=sys.stderr)
        return 2
    if sounds:
        _sound(sounds)
    if videos:
        _video(videos, options.pictures)
    return 0


def _sound(clips: list[pathlib.Path]) -> None:
    for kind in ("mel", "mfcc", "sims", "prosody", "wave"):
        chosen = settings.audio(kind)
        waves = [audio.read(path, rate=chosen.rate) for path in clips]
        seconds = sum(map(len, waves)) / chosen.rate
        measure(
            f"audio {kind}",
            seconds,
            "times real time",
            lambda s=chosen: [
                audio.extract(audio.read(path, rate=s.rate), s) for path in clips
            ],
        )


def _video(clips: list[pathlib.Path], most: int) -> None:
    import safetensors.numpy

    from msajax.encoders import resnet
    from msajax.media.network import PictureNetwork

    def count(path: pathlib.Path) -> int:
        with files.opened(path) as container:
            return sum(1 for _ in container.decode(video=0))

    def shown(path: pathlib.Path):
        return video.pictures(path, rate=_RATE, size=_SIZE, margin=video.MARGIN)

    frames = sum(map(count, clips))
    measure(
        "decoding", frames, "frames", lambda: [sum(1 for _ in shown(p)) for p in clips]
    )
    network = resnet.ResNet()
    shapes = resnet.template(network, np.zeros((1, 32, 32, 3), "f4"), train=False)
    state = network.names().arrays(
        {group: _random(tree) for group, tree in shapes.items()}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "resnet.safetensors"
        state = {name: np.ascontiguousarray(x) for name, x in state.items()}
        safetensors.numpy.save_file(state, path)
        compute = PictureNetwork(path)
    some = [p for clip in clips for p in shown(clip)][:most]
    measure("ResNet-50 alone", len(some), "pictures", lambda: compute(iter(some)))
    longest = max(clips, key=count)
    number = sum(1 for _ in shown(longest))
    measure(
        "decoding, then ResNet-50",
        number,
        "pictures",
        lambda: compute(iter(list(shown(longest)))),
    )
    measure(
        "decoding beside ResNet-50", number, "pictures", lambda: compute(shown(longest))
    )
    share = overlap(shown(longest), lambda batch: compute(iter(batch)))
    print(f"{100 * share:.0f}% of {number} pictures are decoded while it computes")


def overlap(pictures: Iterator[np.ndarray], work: Callable[[np.ndarray], Any]) -> float:
    """The share of pictures that are decoded while work computes on a batch of others."""
    decoded, busy = [], []

    def told() -> Iterator[np.ndarray]:
        for picture in pictures:
            decoded.append(time.perf_counter())
            yield picture

    for batch in video.ahead(video.batches(told(), size=16)):
        start = time.perf_counter()
        work(batch)
        busy.append((start, time.perf_counter()))
    inside = [any(a < t < b for a, b in busy) for t in decoded]
    return sum(inside) / max(len(inside), 1)


def _random(tree: Any) -> Any:
    import jax

    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: np.abs(rng.normal(0, 0.05, x.shape)).astype("f4"), tree
    )


if __name__ == "__main__":
    sys.exit(main())
