"""What a notebook calls: data, systems and runs as values.

corpus = msajax.load_data("unaligned_50.pkl", dataset="mosi")
run = msajax.fit("mult:mosi", corpus, seeds=(1, 2, 3), epochs=30)
run.evaluate("test")                     # Results
run.predict("clips.npz")                 # Predictions
run.outputs("test", "fusion")            # {seed: array}
"""

import atexit
import dataclasses
import fnmatch
import hashlib
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from msajax import models
from msajax.data import clean, demo, loader, store
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Spec, suggest
from msajax.models.base import Model
from msajax.report.results import Predictions, Results
from msajax.run import model_options, opened, output, recipe, text, training
from msajax.run.options import DataOptions, Options, build
from msajax.run.run import Path, Run


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
    if dataset not in DATASETS:
        raise ValueError(f'unknown dataset "{dataset}"{suggest(dataset, DATASETS)}')
    names = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    for name in names:
        if name not in MODALITIES:
            raise ValueError(f'unknown modality "{name}"{suggest(name, MODALITIES)}')
    if not path and dataset == "demo":
        return clean.select(demo.generate(0), names)
    if not path:
        raise ValueError(
            f"path is empty; give a file or a prepared store of {dataset} (only the "
            "demo corpus is generated)"
        )
    return store.open_corpus(
        str(path),
        dataset=dataset,
        format=format,
        labels=labels,
        modalities=names,
        encoding=encoding,
    )


def create_model(name: str, data: Corpus | Spec, **fields: Any) -> Model:
    """A system as a Flax module.

    Args:
      name: a recipe, as 'mult:mosi', or a system with its defaults, as 'mult'.
      data: the corpus that it is made for, or its spec.
      **fields: hyperparameters, over those of the recipe.

    Raises:
      ValueError: an unknown name or hyperparameter; says the nearest.
    """
    if ":" in name:
        options = recipe.load(name)
    else:
        dataset = data.dataset if isinstance(data, Corpus) else "demo"
        options = Options(system=name, data=DataOptions(dataset=dataset))
    options = recipe.change(options, {f"model.{k}": v for k, v in fields.items()})
    spec = data if isinstance(data, Spec) else loader.make_spec(data)
    encoder = text.encoder_of(options, None)
    return build(options, spec, encoder)


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
      workdir: folder of the run; empty for a temporary one, which is removed when Python
        ends.
      seeds: one training each; empty for the recipe's.
      epochs: at most, of the phases that set no number of their own; 0 for the recipe's.
      options: others by their keys: {"train.batch_size": 16, "model.dim": 60}.
      quiet: print nothing.

    Returns:
      The run, trained to its end.

    Raises:
      ValueError: the recipe or the data cannot be used, or the workdir holds another run.
    """
    if isinstance(seeds, int):
        raise ValueError(f"seeds is {seeds}; give each of them: seeds=(1, 2, 3)")
    changes = dict(options)
    changes |= {"train.seeds": tuple(seeds)} if len(seeds) else {}
    changes |= {"train.epochs": epochs} if epochs else {}
    wanted = recipe.change(_options(what, data), changes)
    if data is not None and wanted.data.path:
        raise ValueError(
            f"config.data.path is {wanted.data.path!r}, and a corpus is given as well; "
            "leave one out"
        )
    folder = pathlib.Path(workdir) if str(workdir) else _temporary()
    own = None if data is None else _identified(data)
    console = Console(quiet=quiet)
    try:
        with training.at_work(wanted, folder) as wanted:
            run, results = training.train(wanted, folder, own=own, console=console)
            assert results is not None  # nothing asks it to stop
            output.write_results(folder, results)
    except KeyboardInterrupt as error:
        error.add_note(
            f"what was trained up to the last checkpoint is in {folder}: call fit again "
            f'with workdir="{folder}" to go on'
        )
        raise
    return run


def open_run(workdir: Path, data: Corpus | None = None) -> Run:
    """The run of a workdir, to evaluate and predict.

    Args:
      workdir: of `fit` or of the command line.
      data: the corpus that it was trained on, where that was no file.

    Raises:
      ValueError: the folder holds no run, or a damaged one.
    """
    own = None if data is None else _identified(data)
    return opened.open_run(pathlib.Path(workdir), own=own)


def evaluate(
    workdir: Path, split: str = "test", data: Path | Corpus | None = None
) -> Results:
    """The metrics of a workdir's best checkpoints, see `Run.evaluate`."""
    return open_run(workdir).evaluate(split, data)


def predict(workdir: Path, data: Path | Corpus) -> Predictions:
    """Predictions of a workdir's best checkpoints, see `Run.predict`."""
    return open_run(workdir).predict(data)


def list_systems() -> list[str]:
    """Names of all systems."""
    return list(models.names())


def list_recipes(pattern: str = "*") -> list[str]:
    """Names of all recipes and rows that match a pattern: 'mult:*', '*:mosi'.

    'demo' is another name of 'lf_dnn:demo'.
    """
    return fnmatch.filter(("demo", *recipe.names()), pattern)


def _options(what: str | Options | Model, data: Corpus | None) -> Options:
    if not isinstance(data, Corpus | None):
        raise ValueError(
            f"data is {data!r}; read a file first, with load_data(path, dataset=...)"
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
    here, there = loader.make_spec(data), what.spec
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


def _identified(corpus: Corpus) -> Corpus:
    """A corpus with the hash of its content, where it is of no file."""
    if corpus.sha256:
        return corpus
    digest = hashlib.sha256()
    for name, split in sorted(corpus.splits.items()):
        digest.update(repr((name, list(split.ids), list(split.raw_text))).encode())
        for key, array in sorted(split.arrays.items()):
            digest.update(repr((key, array.shape, str(array.dtype))).encode())
            digest.update(array[:].tobytes())
    return dataclasses.replace(corpus, sha256=digest.hexdigest())


def _temporary() -> pathlib.Path:
    folder = tempfile.TemporaryDirectory(prefix="msajax-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return pathlib.Path(folder.name) / "run"
