"""How well CorMulT's coefficients tell clips from clips that have a modality of another one (strategy A).

    python tools/correlation_auc.py --workdir runs/weak

For each pair of modalities the area under the ROC curve of its coefficient, when either of
the two is another clip's, drawn at random: 0.5 is chance. Clips are those of the test split of
--data; where the run divided its data (config.data.split), --data is that file and is divided
likewise. Of a run on the demo corpus without it, clips that all fit.
"""

import argparse
import contextlib
import csv
import io
import pathlib
import sys
import tempfile

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax import main as program
from msajax import settings, workdir
from msajax.data.spec import MODALITIES, Split


def auc(matched: np.ndarray, foreign: np.ndarray) -> float:
    """Share of the pairs (one of [N], one of [M]) in which the matched one is larger; ties are halves."""
    above = matched[:, None] > foreign[None]
    return float(np.mean(above + 0.5 * (matched[:, None] == foreign[None])))


def clips(folder: pathlib.Path, file: str | None) -> Split:
    """The test split of a file, or of the demo corpus.

    Raises:
      ValueError: no file for a run on another dataset, or one without such a split.
    """
    config = workdir.load_config(folder)
    data, text = config.data, config.text
    if file is None and (data.dataset != "demo" or data.path):
        raise ValueError(
            f"{folder} is a run on {data.dataset}; name its file by --data"
        )
    # The rows as the run takes them, so that none of its training counts. Their text is
    # that of the file, which `predict` reads; weak clips would count as matched.
    data.path, data.weak = file or "", 0.0
    text.encoder, text.vocabulary = "", False
    corpus = settings.read_corpus(config, folder, labels=bool(data.split))
    if not {"test", "all"} & corpus.splits.keys():
        raise ValueError(f'{file} has no split "test", only {", ".join(corpus.splits)}')
    return corpus.splits.get("test") or corpus.splits["all"]


def write(path: pathlib.Path, split: Split, foreign: str = "") -> None:
    """The clips as a file, one modality of each taken from another clip."""
    # A cycle through all in random order: neighbours in a file are often of one video.
    own = np.arange(len(split))
    order = np.random.default_rng(0).permutation(own)
    other = np.empty_like(own)
    other[order] = np.roll(order, 1)
    arrays = {
        "id": own,
        "raw_text": split.raw_text[other if foreign == "text" else own],
    }
    for m in set(MODALITIES) & split.arrays.keys():
        rows = other if m == foreign else own
        arrays[m] = split.arrays[m][rows]
        arrays[f"{m}_length"] = np.sum(split.arrays[f"{m}_mask"], axis=1)[rows]
    np.savez(path, **arrays)


def present(split: Split) -> list[str]:
    """Modalities that can be another clip's; text also where it is transcripts alone."""
    words = any(split.raw_text)
    return [m for m in MODALITIES if m in split.arrays or (m == "text" and words)]


def coefficients(folder: pathlib.Path, seed: int, file: pathlib.Path) -> dict:
    """{(modality, modality): [N]} as a seed of a run predicts them."""
    output = file.with_suffix(".csv")
    files = ["--data", str(file), "--output", str(output)]
    command = ["--mode", "predict", "--workdir", str(folder), *files]
    with contextlib.redirect_stdout(io.StringIO()):
        status = program.main([*command, f"--config.train.seeds=({seed},)"])
    if status:
        raise ValueError(f"{folder} cannot be used (see above)")
    with open(output, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = [name for name in rows[0] if name.startswith("cor_")]
    return {
        tuple(n.split("_")[1:]): np.array([float(r[n]) for r in rows]) for n in names
    }


def measure(folder: pathlib.Path, seed: int, split: Split) -> dict[str, float]:
    """The areas of a seed by '<foreign modality>: <modality> and <modality>'."""
    found = {}
    with tempfile.TemporaryDirectory() as home:
        file = pathlib.Path(home) / "clips.npz"
        write(file, split)
        own = coefficients(folder, seed, file)
        if not own:
            raise ValueError(f"the system of {folder} has no coefficients")
        for m in present(split):
            write(file, split, m)
            for pair, values in coefficients(folder, seed, file).items():
                if m in pair:
                    found[f"{' and '.join(pair)}, foreign {m}"] = auc(own[pair], values)
    return found


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 for a run or a file that cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="DIR")
    parser.add_argument("--data", metavar="FILE")
    args = parser.parse_args(argv)
    folder = pathlib.Path(args.workdir)
    try:
        split = clips(folder, args.data)
        seeds = workdir.load_config(folder).train.seeds
        found = [measure(folder, seed, split) for seed in seeds]
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name in found[0]:
        values = [areas[name] for areas in found]
        std = f"{np.std(values):.3f}" if len(values) > 1 else "-"
        print(f"{name:32} {np.mean(values):.3f} ± {std}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
