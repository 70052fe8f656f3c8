"""A workdir made of weights that a reference implementation trained."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from msajax import parallel, weights
from msajax.data.file_sizes import FILES
from msajax.data.spec import DATASETS, MODALITIES, Spec
from msajax.run import corpora, pretrained, recipe, training, universal, workdir
from msajax.run.options import Options
from msajax.run.run import Run, make
from msajax.train.plan import Book
from msajax.train.step import State


def import_weights(
    options: Options, path: pathlib.Path, folder: pathlib.Path, *, given: set[str]
) -> Run:
    """The run of a recipe whose first seed has the weights of a file.

    The system takes the form in which it computes what the reference does
    (`weights.reference_form`), but for options that are given.

    Args:
      options: the recipe, with the hyperparameters of the trained system.
      path: a file of torch.save (.pth), a .safetensors or an .npz file.
      folder: the workdir, which holds no run yet.
      given: keys of the options that the user has set.

    Returns:
      The run, ready to evaluate and predict.

    Raises:
      ValueError: the weights do not fit the system, the widths of the data are not
        known, or the folder holds a run.
    """
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} holds a run; take another workdir")
    state = weights.read(path)
    form = weights.reference_form(options.system)
    form = {f"model.{key}": value for key, value in form.items()}
    chosen = {key: value for key, value in form.items() if key not in given}
    options = recipe.change(options, {**chosen, "train.seeds": options.train.seeds[:1]})
    (seed,) = options.train.seeds
    with training.at_work(options, folder) as options:
        spec, sha256 = _spec(options, folder)
        if universal.written_by(options):
            written, _ = universal.answers(options, folder)
            spec = dataclasses.replace(spec, written=written)
        run = make(options, folder, spec)
        variables = weights.load(run.model, state)
        # Claim the folder only once the weights are known to fit.
        options = workdir.claim(folder, options, spec, sha256)
        pretrained.keep(options, folder)
        params: Any = traverse_util.flatten_dict(variables.pop("params"), sep="/")
        others: Any = traverse_util.flatten_dict(variables, sep="/")
        best = parallel.replicate(State(params, others, {}), run.devices)
        book = Book(finished=True, stopped="its weights were imported")
        run.checkpoints(seed).save(book, best=best)
    for key in sorted(chosen):
        run.say(f"note: config.{key} is {chosen[key]}, as in the reference")
    count = sum(int(np.size(x)) for x in params.values())
    run.say(f"{path}: {len(params)} arrays, {count:,} parameters, in {folder}")
    return dataclasses.replace(run, options=options)


def _spec(options: Options, folder: pathlib.Path) -> tuple[Spec, str]:
    """The spec of the recipe's data and the data's hash; of the published file where there is none."""
    if options.data.path:
        corpus = corpora.read_corpus(options, folder)
        return corpora.make_spec(options, corpus), corpus.sha256
    name = f"{options.data.dataset}/{options.data.variant}"
    if not options.data.dims or not options.data.lengths or options.audio.frozen:
        raise ValueError(
            f"what a file of {name} looks like is not known: give the widths and lengths "
            "(--config.data.dims=..., --config.data.lengths=...), or the file that the "
            "weights were trained on (--config.data.path=FILE)"
        )
    dims, lengths = options.data.dims, options.data.lengths
    dataset, fields = DATASETS[options.data.dataset], Spec.fields
    if options.text.encoder:
        fields = (*fields, "text_ids", "text_type")
        lengths = (options.text.max_length, *lengths[1:])
        if options.text.joined:
            fields = (*fields, "text_own")
    if dataset.own_labels:
        fields = (*fields, *(f"label_{m}" for m in MODALITIES))
    rows = FILES[name].rows[0] if name in FILES else 1
    return Spec(
        (dims[0], dims[1], dims[2]),
        (lengths[0], lengths[1], lengths[2]),
        rows,
        dataset.label_range,
        dataset.classes,
        fields,
    ), ""
