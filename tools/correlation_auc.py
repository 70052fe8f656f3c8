"""How well CorMulT's coefficients tell clips from clips that have a modality of another one (strategy A).

    python tools/correlation_auc.py --workdir runs/weak

For each pair of modalities the area under the ROC curve of its coefficient, when either of
the two is another clip's, drawn at random: 0.5 is chance. The clips are those of the test split
of --data. Where the run divided its data (config.data.split), --data is that file and is divided
in the same way. Without --data, a run on the demo corpus is measured on clips that all fit.
"""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np
from rich.console import Console

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import msajax
from msajax.data.spec import MODALITIES, Corpus, Split
from msajax.run import corpora, recipe
from msajax.run.run import Run

# The rows as the run takes them, so that none of its training counts, but their text as the
# file has it, which `Run.predict` reads; weak clips would count as matched.
_AS_THEY_ARE = {"data.weak": 0.0, "text.encoder": "", "text.vocabulary": False} | {
    f"text.{key}": False for key in ("frozen", "raw", "words")
}


def auc(matched: np.ndarray, foreign: np.ndarray) -> float:
    """Share of the pairs (one of [N], one of [M]) in which the matched one is larger; ties are halves."""
    above = matched[:, None] > foreign[None]
    return float(np.mean(above + 0.5 * (matched[:, None] == foreign[None])))


def clips(run: Run, file: str | None) -> Split:
    """The test split of a file, or of the demo corpus.

    Raises:
      ValueError: no file for a run on another dataset, or one without such a split.
    """
    data = run.options.data
    if file is None and (data.dataset != "demo" or data.path):
        raise ValueError(
            f"{run.folder} is a run on {data.dataset}; name its file by --data"
        )
    options = recipe.change(run.options, {"data.path": file or "", **_AS_THEY_ARE})
    corpus = corpora.read_corpus(options, run.folder, labels=bool(data.split))
    if not {"test", "all"} & corpus.splits.keys():
        raise ValueError(f'{file} has no split "test", only {", ".join(corpus.splits)}')
    return corpus.splits.get("test") or corpus.splits["all"]


def present(split: Split) -> list[str]:
    """Modalities that can be another clip's; text also where it is words alone."""
    words = "text_ids" in split.arrays or any(split.raw_text)
    return [m for m in MODALITIES if m in split.arrays or (m == "text" and words)]


def mixed(split: Split, foreign: str) -> Split:
    """The clips, one modality of each taken from another clip."""
    # A cycle through all in random order: neighbours in a file are often of one video.
    other = np.empty(len(split), int)
    order = np.random.default_rng(0).permutation(len(split))
    other[order] = np.roll(order, 1)
    arrays = {
        name: array[other] if name.partition("_")[0] == foreign else array
        for name, array in split.arrays.items()
    }
    raw_text = split.raw_text[other] if foreign == "text" else split.raw_text
    return Split(split.ids, raw_text, arrays)


def coefficients(
    run: Run, splits: dict[str, Split]
) -> dict[str, dict[tuple[str, ...], np.ndarray]]:
    """{split: {(modality, modality): [N]}} as the seeds of a run predict them, in the mean."""
    # All at once: each prediction compiles its program anew.
    made = run.predict(Corpus(run.options.data.dataset, splits))
    ends = np.cumsum([len(split) for split in splits.values()])[:-1]
    found: dict[str, dict] = {name: {} for name in splits}
    for figure, values in made.figures.items():
        kind, *pair = figure.split("_")
        if kind == "cor":
            for name, rows in zip(splits, np.split(values, ends), strict=True):
                found[name][tuple(pair)] = rows
    return found


def by_seed(run: Run) -> list[Run]:
    """The run of each seed alone, which prints nothing."""
    quiet = Console(quiet=True)
    return [
        dataclasses.replace(
            run,
            options=recipe.change(run.options, {"train.seeds": (seed,)}),
            console=quiet,
        )
        for seed in run.options.train.seeds
    ]


def measure(run: Run, split: Split) -> dict[str, float]:
    """The areas of a run by '<modality> and <modality>, foreign <modality>'."""
    names = present(split)
    made = coefficients(run, {"": split} | {m: mixed(split, m) for m in names})
    if not made[""]:
        raise ValueError(f"the system of {run.folder} has no coefficients")
    return {
        f"{' and '.join(pair)}, foreign {m}": auc(made[""][pair], values)
        for m in names
        for pair, values in made[m].items()
        if m in pair
    }


def main(argv: list[str] | None = None) -> int:
    """Runs the tool; the exit status is 1 for a run or a file that cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="DIR")
    parser.add_argument("--data", metavar="FILE")
    args = parser.parse_args(argv)
    try:
        run = msajax.open_run(args.workdir)
        split = clips(run, args.data)
        found = [measure(one, split) for one in by_seed(run)]
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
