"""What a notebook calls: data, systems and runs as values.

An option that a message calls config.KEY is given as options={"KEY": value}.

corpus = msajax.load_data("unaligned_50.pkl", dataset="mosi")
run = msajax.fit("mult:mosi", corpus, seeds=(1, 2, 3), epochs=30)
run.evaluate("test")                     # Results
run.predict("clips.npz")                 # Predictions
run.outputs("test", "fusion")            # {seed: array}
run.parameters(1)                        # {path: array}
"""

import atexit
import dataclasses
import fnmatch
import os
import pathlib
import reprlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from msajax import models
from msajax.data import clean, loader, store
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Reading, Spec, suggest
from msajax.models.base import Model
from msajax.report.results import Predictions, Results
from msajax.run import (
    corpora,
    model_options,
    opened,
    output,
    pretrained,
    recipe,
    signals,
    training,
)
from msajax.run.options import DataOptions, Options, build
from msajax.run.run import Path, Run

_PATH = (str, os.PathLike)


def load_data(
    path: Path = "",
    *,
    dataset: str,
    format: str = "",
    encoding: str = "",
    modalities: Sequence[str] = MODALITIES,
    labels: bool = True,
) -> Corpus:
    """Data of a file or a prepared store, cleaned.

    Args:
      path: a pickle, npz or csv of the field, or a prepared store; empty for the
        generated demo corpus (dataset="demo").
      dataset: a name in `msajax.data.spec.DATASETS`: its labels and metrics.
      format: of the file; empty finds it from the content.
      encoding: of texts that are not UTF-8: 'gbk', 'big5', ...
      modalities: to read.
      labels: read them; False for a file that has none.

    Raises:
      ValueError: the file cannot be read; says what it is, and what to do.
    """
    _need("path", path, _PATH, "the path of a file or a prepared store")
    _need("dataset", dataset, str, f"one of {', '.join(DATASETS)}")
    _need("modalities", modalities, Iterable, f"some of {', '.join(MODALITIES)}")
    if dataset not in DATASETS:
        raise ValueError(f'unknown dataset "{dataset}"{suggest(dataset, DATASETS)}')
    names = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    for name in names:
        _need("a modality", name, str, f"one of {', '.join(MODALITIES)}")
        if name not in MODALITIES:
            raise ValueError(f'unknown modality "{name}"{suggest(name, MODALITIES)}')
    if not path and dataset not in corpora.GENERATED:
        raise ValueError(
            f"path is empty; give a file or a prepared store of {dataset} (only "
            f"{' and '.join(corpora.GENERATED)} are generated)"
        )
    if path:
        corpus = store.open_corpus(
            str(path),
            dataset=dataset,
            format=format,
            labels=labels,
            modalities=names,
            encoding=encoding,
        )
    else:
        made = corpora.GENERATED[dataset](0, 0.0)
        corpus = clean.select(made, names, labels=labels)
    if not labels:  # not what a run trains on
        return corpus
    reading = Reading(corpora.content(corpus), names, format, encoding)
    return dataclasses.replace(corpus, reading=reading)


def create_model(name: str, data: Corpus | Spec, **fields: Any) -> Model:
    """A system as a Flax module.

    Args:
      name: a recipe, as 'mult:mosi', or a system with its defaults, as 'mult'.
      data: the corpus that it is made for, or its spec.
      **fields: hyperparameters, over those of the recipe.

    Raises:
      ValueError: an unknown name or hyperparameter; says the nearest.
    """
    _need("name", name, str, "a recipe, 'mult:mosi', or a system, 'mult'")
    _need("data", data, Corpus | Spec, "a corpus of load_data, or its spec")
    if ":" in name:
        options = recipe.load(name)
        if isinstance(data, Corpus):
            corpora.check_dataset(options.data.dataset, data)
    else:
        dataset = data.dataset if isinstance(data, Corpus) else "demo"
        options = Options(system=name, data=DataOptions(dataset=dataset))
    options = recipe.change(options, {f"model.{k}": v for k, v in fields.items()})
    if isinstance(data, Corpus):
        kind = models.get(options.system)
        spec = loader.make_spec(data, view=kind.view, own_fields=kind.own_fields)
    else:
        spec = data
    return build(options, spec, **pretrained.configs(options, None, spec))


def fit(
    what: str | Options | Model,
    data: Corpus | None = None,
    *,
    workdir: Path = "",
    seeds: Sequence[int] = (),
    epochs: int = 0,
    options: Mapping[str, Any] = {},
    quiet: bool = False,
) -> Run:
    """Trains, and returns the run; with a workdir the same call resumes it.

    Args:
      what: a recipe ('mult:mosi', a file 'mine.py:mosi', or its options), or a system
        of `create_model`.
      data: to train on; None for the recipe's own file (data.path), or the demo corpus.
      workdir: folder of the run, with predictions_<split>.csv; empty for a temporary one
        without, which is removed when Python ends.
      seeds: one training each; empty for the recipe's.
      epochs: at most, of the phases that set no number of their own; 0 for the recipe's.
      options: others by their keys: {"train.batch_size": 16, "model.dim": 60}.
      quiet: print nothing.

    Returns:
      The run, trained to its end.

    Raises:
      ValueError: the recipe or the data cannot be used, or the workdir holds another run.
      KeyboardInterrupt: the training was interrupted. A first Ctrl-C (or the notebook's
        stop button) saves a checkpoint before; its note says how to continue.

    Globals: while it trains, SIGINT has another handler. These stay set in the process:
    JAX's matmul precision (float32, not TF32); where they are not set yet, JAX's cache of
    compiled programs (~/.cache/msajax/compiled) with a filter on the warnings about it;
    XLA_FLAGS for deterministic kernels (config.deterministic); and, before JAX is used,
    how many devices the processor is: two, or more by config.parallel.devices.
    """
    if isinstance(seeds, int):
        raise ValueError(f"seeds is {seeds}; give each of them: seeds=(1, 2, 3)")
    _need("seeds", seeds, Iterable, "numbers, (1, 2, 3), or () for the recipe's")
    _need("options", options, Mapping, 'a dict, {"train.batch_size": 16}')
    _need("workdir", workdir, _PATH, "the path of a folder")
    for key in options:
        _need("a key of options", key, str, 'a name, "train.batch_size"')
    changes = dict(options)
    changes |= {"train.seeds": seeds} if (seeds := tuple(seeds)) else {}
    changes |= {"train.epochs": epochs} if epochs else {}
    wanted = recipe.change(_options(what, data), changes)
    if data is not None and wanted.data.path:
        raise ValueError(
            f"config.data.path is {wanted.data.path!r}, and a corpus is given as well; "
            "leave one out"
        )
    folder = pathlib.Path(workdir) if str(workdir) else _temporary()
    console = Console(quiet=quiet)
    for line in wanted.without_effect(changes):
        console.print(line, highlight=False, soft_wrap=True)
    try:
        with (
            training.at_work(wanted, folder) as wanted,
            signals.held_back(console.print) as stop,
        ):
            run, results = training.train(
                wanted, folder, own=data, stop=stop, console=console
            )
            if results is not None:
                output.write_results(folder, results, csv=bool(str(workdir)))
        if stop():
            raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        error.add_note(_kept(folder))
        raise
    return run


def open_run(workdir: Path, data: Corpus | None = None) -> Run:
    """The run of a workdir, to evaluate and predict. Sets JAX's options as `fit` does.

    Args:
      workdir: of `fit` or of the command line.
      data: the corpus that it was trained on, where that was no file.

    Raises:
      ValueError: the folder holds no run, or a damaged one.
    """
    _need("workdir", workdir, _PATH, "the path of a folder")
    _need("data", data, Corpus | None, "a corpus of load_data")
    return opened.open_run(pathlib.Path(workdir), own=data)


def evaluate(
    workdir: Path, split: str = "test", data: Path | Corpus | None = None
) -> Results:
    """The metrics of a workdir's best checkpoints on a split.

    Args:
      workdir: of `fit` or of the command line.
      split: of the data; a file without splits is taken whole.
      data: a file or a corpus with labels; None for the run's own.

    Raises:
      ValueError: there is no run, the data cannot be used, or a seed is not trained to
        its end.
    """
    return open_run(workdir).evaluate(split, data)


def predict(workdir: Path, data: Path | Corpus) -> Predictions:
    """Predictions of a workdir's best checkpoints for every row, labels not needed.

    Args:
      workdir: of `fit` or of the command line.
      data: a file or a corpus.

    Raises:
      ValueError: as `evaluate`.
    """
    return open_run(workdir).predict(data)


def list_systems() -> list[str]:
    """Names of all systems, as `create_model` takes them."""
    return list(models.names())


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of recipes and rows of their ablations, as `fit` takes them.

    'demo' is another name of 'lf_dnn:demo'.

    Args:
      pattern: '*' stands for any text, '?' for a letter: 'mult:*', '*:mosi'.

    Raises:
      ValueError: the pattern is no text.
    """
    _need("pattern", pattern, str, "a text: 'mult:*'")
    return fnmatch.filter(("demo", *recipe.names()), pattern)


def _options(what: str | Options | Model, data: Corpus | None) -> Options:
    _need(
        "data", data, Corpus | None, "a corpus; load_data(path, dataset=...) reads one"
    )
    if isinstance(what, Options):
        return what
    if isinstance(what, str):
        return recipe.load(what)
    if not isinstance(what, Model):
        raise ValueError(
            f"nothing can be trained from {what!r}; give a recipe ('mult:mosi', or its "
            "options), or a system of create_model"
        )
    if data is None:
        raise ValueError("a system needs data to train on: fit(model, corpus)")
    system = what.system()
    if getattr(what, "encoder", None) is not None:
        raise ValueError(
            f"{system} has a pretrained encoder, whose weights a recipe names: "
            'fit("text_only:mosi", corpus, options={"text.encoder": ...})'
        )
    here = loader.make_spec(data, view=what.view, own_fields=what.own_fields)
    there = what.spec
    for key in ("dims", "lengths", "classes"):
        if getattr(here, key) != getattr(there, key):
            raise ValueError(
                f"the system was made for data with {key} {getattr(there, key)}, but "
                f"this corpus has {getattr(here, key)}; make it for this one: "
                f'create_model("{system}", corpus)'
            )
    fields = {
        name: getattr(what, name)
        for name, (_, default) in model_options.fields(system).items()
        if getattr(what, name) != default
    }
    return Options(system=system, model=fields, data=DataOptions(dataset=data.dataset))


def _need(what: str, value: object, kinds: Any, advice: str) -> None:
    """Refuses an argument of another type, before anything is computed."""
    if not isinstance(value, kinds):
        raise ValueError(f"{what} is {reprlib.repr(value)}; give {advice}")


def _kept(folder: pathlib.Path) -> str:
    """What an interrupted training leaves."""
    if not any(folder.glob("seed_*/checkpoints/[0-9]*")):
        return "no checkpoint was saved yet: the next call starts from the beginning"
    return (
        f"what was trained up to the last checkpoint is in {folder}; to continue, call "
        f'fit again with workdir="{folder}"'
    )


def _temporary() -> pathlib.Path:
    folder = tempfile.TemporaryDirectory(prefix="msajax-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return pathlib.Path(folder.name) / "run"
