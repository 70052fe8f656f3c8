"""Classifies the eight emotions of RAVDESS speech, leaving one actor out after the other.

    python tools/ravdess.py RAVDESS --seeds 1,2,3

RAVDESS has labels.csv (file, emotion, actor) and the recordings. Silence before and after
the speech, half of a recording, is left out. Each fold tests on one actor, chooses the
epoch on the next, and trains on the others; features are standardized by the training
actors. Prints accuracy and weighted F1 over all folds of MFN on the audio
alone, of logistic regression on the means and deviations of the same features, and of
chance. The two sentences that are spoken carry no emotion.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song",
PLoS ONE 2018.
"""

import argparse
import pathlib
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax.run import program

if __name__ == "__main__":  # before the imports below, which take seconds
    program.start()

import msajax
from msajax import metrics
from msajax.data.errors import DataError
from msajax.data.formats import tables
from msajax.data.spec import DATASETS, Corpus, Split
from msajax.media import audio, files, settings

CLASSES = DATASETS["ravdess"].classes
# Widths of a network on the audio alone; text and vision are absent.
MODEL = dict(
    hidden_dims=(4, 64, 4),
    memory=32,
    gate_dims=(32, 32, 32),
    gate_dropouts=(0.0, 0.2, 0.2),
    out_dim=64,
    out_dropout=0.5,
)
OPTIONS = {
    "train.batch_size": 32,
    "train.patience": 0,
    "train.select": "accuracy",
    "optimizer.learning_rate": 2e-3,
    "optimizer.weight_decay": 1e-3,
}


class Speech(NamedTuple):
    """N recordings.

    Attributes:
      features: [N, L, D] float32, padded.
      length: [N], real steps.
      label: [N] int.
      actor: [N] str.
    """

    features: np.ndarray
    length: np.ndarray
    label: np.ndarray
    actor: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """[N, L] bool, real steps."""
        return np.arange(self.features.shape[1]) < self.length[:, None]


def read(folder: pathlib.Path, kind: str, *, trim: float) -> Speech:
    """The features of all recordings.

    Args:
      folder: with labels.csv.
      kind: of the features, "mfcc:deltas=1".
      trim: leave out at the ends what is so many dB below the loudest; 0 leaves in all.

    Raises:
      DataError: a file is missing or damaged, or an emotion is unknown.
    """
    table = files.check(folder / "labels.csv")
    rows = tables.rows(table, ("file", "emotion", "actor"))
    chosen, found = settings.audio(kind), []
    for row in rows:
        if row["emotion"] not in CLASSES:
            raise DataError(
                f'{row.place}: the emotion "{row["emotion"]}" is none of '
                f"{', '.join(CLASSES)}"
            )
        wave = audio.read(folder / row["file"], rate=chosen.rate)
        if trim:
            wave, _ = files.library("librosa").effects.trim(wave, top_db=trim)
        found.append(audio.extract(wave, chosen))
    if not found:
        raise DataError(f"{table} has no rows; give one per recording")
    length = np.array([len(x) for x in found])
    features = np.zeros((len(found), length.max(), found[0].shape[1]), np.float32)
    for padded, values in zip(features, found, strict=True):
        padded[: len(values)] = values
    label = np.array([CLASSES.index(row["emotion"]) for row in rows])
    return Speech(features, length, label, np.array([row["actor"] for row in rows]))


def fold(speech: Speech, test: str, valid: str) -> Corpus:
    """The corpus that tests on one actor and validates on another, standardized by the others."""
    places = {"test": speech.actor == test, "valid": speech.actor == valid}
    places["train"] = ~(places["test"] | places["valid"])
    steps = speech.features[places["train"]][speech.mask[places["train"]]]
    values = (speech.features - steps.mean(axis=0)) / (steps.std(axis=0) + 1e-6)
    values = np.where(speech.mask[..., None], values, 0).astype(np.float32)
    splits = {}
    for name in ("train", "valid", "test"):
        rows = np.flatnonzero(places[name])
        arrays = {"audio": values[rows], "audio_mask": speech.mask[rows]}
        arrays["label"] = speech.label[rows].astype(np.int32)
        ids = np.array([f"clip {i}" for i in rows])
        splits[name] = Split(ids, np.full(len(rows), ""), arrays)
    return Corpus("ravdess", splits)


def regression(corpus: Corpus) -> np.ndarray:
    """Logits of logistic regression on means and deviations over time; the test split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def pooled(split: Split) -> np.ndarray:
        x, mask = split.arrays["audio"], split.arrays["audio_mask"]
        real = [values[rows] for values, rows in zip(x, mask, strict=True)]
        return np.array([[*v.mean(axis=0), *v.std(axis=0)] for v in real])

    train, test = (corpus.splits[name] for name in ("train", "test"))
    scaler = StandardScaler().fit(pooled(train))
    model = LogisticRegression(C=0.1, max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(scaler.transform(pooled(train)), train.arrays["label"])
    found = np.zeros((len(test), len(CLASSES)))  # a class may be absent in training
    found[:, model.classes_] = model.predict_proba(scaler.transform(pooled(test)))
    return found


def show(name: str, logits: list[np.ndarray], label: np.ndarray) -> None:
    """Prints the figures of one or several seeds over all folds."""
    found = [metrics.evaluate("classes", x, label, classes=CLASSES) for x in logits]
    shown = []
    for key in ("accuracy", "weighted_f1"):
        values = [100 * figures[key] for figures in found]
        spread = f" ± {np.std(values):.1f}" if len(values) > 1 else ""
        shown.append(f"{key} {np.mean(values):.1f}{spread}")
    print(f"{name:32} {', '.join(shown)}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path, help="with labels.csv")
    parser.add_argument("--audio", default="mfcc:rate=16000,hop=640,deltas=1")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument(
        "--trim", type=float, default=30.0, help="dB below the loudest; 0: keep silence"
    )
    args = parser.parse_args(argv)
    try:
        _run(args)
    except (ValueError, OSError) as error:
        print(f"error: {program.told(error)}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> None:
    start = time.perf_counter()
    try:
        seeds = tuple(int(seed) for seed in args.seeds.split(","))
    except ValueError as error:
        raise ValueError(f"--seeds is {args.seeds}; give numbers: 1,2,3") from error
    for name, given, least in (("epochs", args.epochs, 1), ("trim", args.trim, 0)):
        if not given >= least:
            raise ValueError(f"--{name} is {given:g}; give at least {least}")
    speech = read(args.folder, args.audio, trim=args.trim)
    actors = sorted({*speech.actor.tolist()})
    if len(actors) < 3:
        raise DataError(f"{args.folder} has {len(actors)} actors; a fold needs three")
    print(
        f"{len(speech.label)} clips, {args.audio}: {time.perf_counter() - start:.0f} s"
    )
    labels, baseline = [], []
    logits: dict[int, list[np.ndarray]] = {seed: [] for seed in seeds}
    for number, actor in enumerate(actors):
        corpus = fold(speech, actor, actors[(number + 1) % len(actors)])
        labels.append(corpus.splits["test"].arrays["label"])
        baseline.append(regression(corpus))
        model = msajax.create_model("mfn", corpus, **MODEL)
        trained = msajax.fit(
            *(model, corpus),
            seeds=seeds,
            epochs=args.epochs,
            options=OPTIONS,
            quiet=True,
        )
        found = trained.outputs("test", "pred")
        for seed in seeds:
            logits[seed].append(found[seed])
        made = [np.concatenate(x[-1:]) for x in logits.values()]
        show(f"actor {actor}: MFN", made, labels[-1])
    label = np.concatenate(labels)
    print(f"over all {len(actors)} folds, {time.perf_counter() - start:.0f} s:")
    show("MFN", [np.concatenate(x) for x in logits.values()], label)
    show("logistic regression", [np.concatenate(baseline)], label)
    most = np.bincount(label, minlength=len(CLASSES))
    show("the most frequent emotion", [np.tile(most, (len(label), 1))], label)
    shares = most / most.sum()
    print(f"{'guesses by frequency':32} accuracy {100 * np.square(shares).sum():.1f}")


if __name__ == "__main__":
    sys.exit(main())
