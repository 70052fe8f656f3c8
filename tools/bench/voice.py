"""Measures the voice encoders on recordings: base-size networks with random weights.

    python tools/bench/voice.py FOLDER --encoders wav2vec2,wavlm --clips 16 --batch 4
    python tools/bench/voice.py FOLDER --encoders wav2vec2 --train --remat

Prints seconds of sound per second of the clock and per second of one core's time, which
other programs on the machine do not change, and the memory of the compiled program:
weights, inputs, results and what it keeps meanwhile. FOLDER has wav or flac files of
16 kHz. Needs soundfile, which librosa brings.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from msajax.encoders.wav2vec2 import RATE, Wav2Vec2Config, check_samples
from msajax.encoders.wavlm import WavLMConfig

_DATA2VEC: dict[str, Any] = dict(
    feat_extract_norm="layer", num_conv_pos_embeddings=5, conv_pos_kernel_size=19
)
CONFIGS = {
    "wav2vec2": Wav2Vec2Config(),
    "hubert": Wav2Vec2Config(feat_proj_layer_norm=False),
    "data2vec-audio": Wav2Vec2Config(**_DATA2VEC),
    "wavlm": WavLMConfig(),
}


def read(folder: pathlib.Path, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """The first clips of a folder, padded to the longest: waves and mask, [N, T]."""
    import soundfile

    files = sorted(p for p in folder.rglob("*") if p.suffix in (".wav", ".flac"))
    if not files:
        raise ValueError(f"{folder} has no wav or flac files; give the folder of some")
    waves = []
    for file in files[:clips]:
        wave, rate = soundfile.read(file, dtype="float32", always_2d=True)
        if rate != RATE:
            raise ValueError(f"{file} has {rate} Hz; convert it to {RATE} first")
        waves.append(wave.mean(axis=1))
    lengths = np.array([len(wave) for wave in waves])
    padded = np.stack([np.pad(w, (0, lengths.max() - len(w))) for w in waves])
    return padded, np.arange(lengths.max()) < lengths[:, None]


def measure(
    config: Wav2Vec2Config, waves: np.ndarray, mask: np.ndarray, options: Any
) -> tuple[float, float, float]:
    """Seconds of sound per second of the clock, and of a processor; GB of memory."""
    dtype = jnp.bfloat16 if options.bfloat16 else jnp.float32
    encoder = config.encoder(dtype=dtype, remat=options.remat, scan=options.scan)
    apply: Callable[..., Any] = encoder.apply

    def forward(params, waves, mask, key):
        rngs = {"dropout": key} if options.train else None
        found = apply(
            *({"params": params}, waves), mask=mask, train=options.train, rngs=rngs
        )
        frames = jnp.where(found.mask[..., None], found.last, 0)
        return jnp.mean(jnp.square(frames.astype(jnp.float32)))

    key = jax.random.key(0)
    init = jax.jit(lambda key, *x: encoder.init(key, x[0], mask=x[1], train=False))
    params = init(key, waves[:1], mask[:1])["params"]
    batches = [
        (waves[i : i + options.batch], mask[i : i + options.batch])
        for i in range(0, len(waves), options.batch)
    ]
    run = jax.jit(jax.value_and_grad(forward) if options.train else forward)
    program: Any = run.lower(params, *batches[0], key).compile()
    jax.block_until_ready(program(params, *batches[0], key))
    start, busy = time.perf_counter(), time.process_time()
    for batch in batches:
        jax.block_until_ready(program(params, *batch, key))
    seconds = sum(real.sum() for _, real in batches) / RATE
    memory = program.memory_analysis()
    parts = ("argument", "output", "temp")
    size = sum(getattr(memory, f"{part}_size_in_bytes") for part in parts)
    speeds = (
        seconds / (time.perf_counter() - start),
        seconds / (time.process_time() - busy),
    )
    return *speeds, size / 1e9


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure the voice encoders.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--encoders", default=",".join(CONFIGS))
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    for name, meaning in (
        ("train", "also the gradients, with dropout"),
        *(("remat", "see LayerStack"), ("scan", "see LayerStack")),
        ("bfloat16", "compute in bfloat16"),
    ):
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    options = parser.parse_args(argv)
    names = options.encoders.split(",")
    try:
        if unknown := set(names) - set(CONFIGS):
            raise ValueError(
                f"no encoder {', '.join(sorted(unknown))}; there are {', '.join(CONFIGS)}"
            )
        for name in ("clips", "batch"):
            if (value := getattr(options, name)) < 1:
                raise ValueError(f"--{name} is {value}; give 1 or more")
        waves, mask = read(options.folder, options.clips)
        options.batch = min(options.batch, len(waves))
        # Batches are of one size, so that one program runs them all.
        whole = len(waves) - len(waves) % options.batch
        waves, mask = waves[:whole], mask[:whole]
        for name in names:
            check_samples(CONFIGS[name], mask.shape[1])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(
        f"{len(waves)} clips, {mask.sum() / RATE:.1f} s; longest {len(mask[0]) / RATE:.1f} s"
    )
    for name in names:
        clock, core, memory = measure(CONFIGS[name], waves, mask, options)
        print(
            f"{name:16} sound per second: {clock:6.2f}, of a core {core:6.2f}; "
            f"{memory:.2f} GB",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
