"""Splits on the devices of a run: those of its training, or those that evaluate."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from msajax import parallel, processes
from msajax.data import loader, unlabelled
from msajax.data.spec import DATASETS, Corpus
from msajax.train import feed, fit

if TYPE_CHECKING:
    from msajax.run.run import Run


def training(run: "Run", corpus: Corpus, others: Mapping[str, Corpus]) -> fit.Data:
    """All splits of a corpus and the phases' own data, on the devices or ready to be streamed."""
    seen = {name: run.pad(split) for name, split in corpus.splits.items()}
    labels = {n: split.arrays["label"] for n, split in corpus.splits.items()}
    own = {}
    for path, other in others.items():
        run.describe(other, path)
        own[path] = run.pad(unlabelled.rows_of(path, other))
    train, count = seen.pop("train"), 1 + len(own)
    found = splits(run, [train, *own.values(), *seen.values()], trained=count)
    places = {"train": found[0], **dict(zip(seen, found[count:], strict=True))}
    own = dict(zip(own, found[1:count], strict=True))
    return fit.Data(DATASETS[corpus.dataset], places, labels, own)


def splits(
    run: "Run", arrays: Sequence[dict[str, np.ndarray]], *, trained: int = 0
) -> list[feed.Source]:
    """Splits as the batches are taken from them, without padding that no row needs.

    Args:
      run: for whose system they are.
      arrays: {field: [N, ...]} of each split, as `Run.pad` makes them.
      trained: how many of them, the first ones, are trained on; the others are evaluated
        (`parallel.to_evaluate`).
    """
    data, cut = run.options.data, not run.model.fixed_length
    if data.buckets > 1 and not cut:
        raise ValueError(
            f"config.data.buckets is {data.buckets}, but what {run.options.system} "
            "computes depends on the padded length in this recipe; set it to 1"
        )
    if data.on_device == "never" and data.buckets > 1:
        feed.refuse_buckets(data.buckets)
    parts = [loader.parts(split, data.buckets, cut=cut) for split in arrays]
    resident = data.on_device == "always" or (
        data.on_device == "auto" and parallel.fit(dict(enumerate(parts)), run.devices)
    )
    # Machines with less memory than others decide for all.
    (streamed,) = processes.agree(not resident)
    evaluating = parallel.to_evaluate(run.devices)
    return [
        feed.source(
            part, run.devices if i < trained else evaluating, resident=not streamed
        )
        for i, part in enumerate(parts)
    ]
