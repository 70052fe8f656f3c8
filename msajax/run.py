"""The three modes of the command line, each from a config and a workdir to files and a table."""

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from rich.console import Console

import msajax
from msajax import checkpoint, evaluate, logs, parallel, train, workdir
from msajax import config as configs
from msajax.book import Book
from msajax.data import clean, demo, loader, store
from msajax.data.spec import DATASETS, Corpus, Spec, Split, suggest
from msajax.models.base import Model
from msajax.report import table

Pairs = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the three modes have in common, made from a config and a workdir."""

    config: configs.Config
    folder: pathlib.Path
    spec: Spec
    model: Model
    devices: parallel.Devices
    console: Console

    def say(self, text: str) -> None:
        """Prints a line as it is, however wide the terminal."""
        self.console.print(text, highlight=False, soft_wrap=True)


def train_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """Trains every seed that is not finished, then reports on all."""
    config = configs.load(args.config, pairs)
    folder = pathlib.Path(args.workdir)
    with workdir.locked(folder):
        corpus = _corpus(config)
        spec = _spec(config, corpus)
        setting = _setting(config, folder, spec)
        workdir.claim(folder, config, spec, corpus.sha256)
        for note in corpus.notes:
            setting.say(f"data: {note}")
        data = _on_devices(setting, corpus)
        programs = [
            train.Program(
                setting.model,
                phase,
                data,
                cycles=config.cycles,
                devices=setting.devices,
            )
            for phase in configs.phases(config)
        ]
        books = {}
        with Signals() as signals:
            for seed in config.train.seeds:
                books[seed] = _fit(setting, programs, data, seed, signals)
                if signals():
                    setting.say(
                        f"saved in {folder}; the same command goes on from here"
                    )
                    return 128 + signals.number
        return _report(setting, data, books, corpus)


def evaluate_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """The table of a workdir's checkpoints on a split, of its data or of another file."""
    setting = _trained(args, pairs)
    corpus = _corpus(setting.config, args.data)
    name = "all" if "all" in corpus.splits else args.split
    _need_splits(corpus, (name,))
    split = corpus.splits[name]
    arrays = _pad(setting, split)
    if "label" not in arrays:
        raise ValueError("the data has no labels; to score it, use --mode predict")
    preds = _predict(setting, setting.config.train.seeds, {name: arrays})[name]
    scores = _summary(setting, preds, arrays["label"])
    result = {
        "system": setting.config.system,
        "dataset": setting.config.data.dataset,
        "seeds": list(preds),
        name: scores,
    }
    setting.console.print(table.render(result, splits=(name,)))
    if args.output:
        _write_predictions(pathlib.Path(args.output), setting, split, preds)
    return 0


def predict_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """A csv of id and score (mean over the seeds), or class, for every row of a file."""
    setting = _trained(args, pairs)
    corpus = _corpus(setting.config, args.data, labels=False)
    output = pathlib.Path(args.output or setting.folder / "scores.csv")
    arrays = {name: _pad(setting, split) for name, split in corpus.splits.items()}
    preds = _predict(setting, setting.config.train.seeds, arrays)
    rows = []
    for name, split in corpus.splits.items():
        scores = np.mean(list(preds[name].values()), axis=0)
        rows += zip(split.ids, _shown(setting, scores), strict=True)
    workdir.write_csv(output, ["id", "score"], rows)
    setting.say(f"{len(rows)} scores in {output}")
    return 0


MODES = {"train": train_mode, "evaluate": evaluate_mode, "predict": predict_mode}


class Signals:
    """Hears Ctrl-C and SIGTERM: the first asks for a save, the second ends at once."""

    def __init__(self):
        self.number = 0

    def __enter__(self):
        handled = (signal.SIGINT, signal.SIGTERM)
        self._old = {n: signal.signal(n, self._hear) for n in handled}
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether a signal came."""
        return self.number != 0

    def _hear(self, number, _):
        if self.number:
            os._exit(128 + number)
        self.number = number
        print("\nstopping after this step; once more to stop at once", file=sys.stderr)


def _corpus(
    config: configs.Config, path: str | None = None, *, labels: bool = True
) -> Corpus:
    data = config.data
    if path is None and data.dataset == "demo" and not data.path:
        return clean.select(demo.generate(data.seed), data.modalities)
    name = "/".join(part for part in (data.dataset, data.variant) if part)
    return store.open_corpus(
        path or data.path or name,
        dataset=data.dataset,
        format="" if path else data.format,
        labels=labels,
        modalities=data.modalities,
    )


def _need_splits(corpus: Corpus, names: Sequence[str]) -> None:
    for name in names:
        if name not in corpus.splits:
            raise ValueError(
                f'the data has no split "{name}"{suggest(name, corpus.splits)}'
            )


def _spec(config: configs.Config, corpus: Corpus) -> Spec:
    _need_splits(corpus, ("train", "valid", "test"))
    data = config.data
    return loader.make_spec(
        corpus, dims=data.dims, lengths=data.lengths, truncate=data.truncate
    )


def _setting(config: configs.Config, folder: pathlib.Path, spec: Spec) -> Setting:
    if config.deterministic:
        # Read when the first device is looked for, below.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if jax.config.values["jax_compilation_cache_dir"] is None:
        _keep_compiled(pathlib.Path("~/.cache/msajax/compiled").expanduser())
    devices = parallel.local_devices(config.parallel.devices)
    return Setting(
        config, folder, spec, configs.build(config, spec), devices, Console()
    )


def _keep_compiled(cache: pathlib.Path) -> None:
    """Lets later runs read the programs that this one compiles."""
    with contextlib.suppress(OSError):  # a home that cannot be written keeps none
        cache.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _trained(args: argparse.Namespace, pairs: Pairs) -> Setting:
    """The setting of a workdir that holds a run, with the command line's values."""
    folder = pathlib.Path(args.workdir)
    config = workdir.load_config(folder)
    for key, text in pairs:
        configs.override(config, key, text)
    configs.check(config)
    return _setting(config, folder, workdir.load_spec(folder))


def _pad(setting: Setting, split: Split) -> dict[str, np.ndarray]:
    truncate = setting.config.data.truncate
    return loader.pad(split, setting.spec, truncate=truncate)


def _on_devices(setting: Setting, corpus: Corpus) -> train.Data:
    splits = {name: _pad(setting, split) for name, split in corpus.splits.items()}
    return train.Data(
        DATASETS[corpus.dataset],
        parallel.replicate(splits, setting.devices),
        {name: arrays["label"] for name, arrays in splits.items()},
    )


def _checkpoints(setting: Setting, seed: int) -> checkpoint.Checkpoints:
    home = setting.folder / f"seed_{seed}" / "checkpoints"
    return checkpoint.Checkpoints(home, warn=setting.say)


def _fit(
    setting: Setting,
    programs: Sequence[train.Program],
    data: train.Data,
    seed: int,
    signals: Signals,
) -> Book:
    config = setting.config
    home = setting.folder / f"seed_{seed}"
    title = f"{config.system} seed {seed}"
    log = logs.Log(home, title=title, console=setting.console)
    with contextlib.closing(log):
        book = train.fit(
            setting.model,
            programs,
            data,
            seed=seed,
            cycles=config.cycles,
            devices=setting.devices,
            checkpoints=_checkpoints(setting, seed),
            save_seconds=config.checkpoint.seconds,
            log=log,
            interrupted=signals,
        )
        if book.finished:
            log.end(book)
    return book


def _report(
    setting: Setting, data: train.Data, books: dict[int, Book], corpus: Corpus
) -> int:
    """Writes results.json and the predictions, prints the table; the exit code."""
    config = setting.config
    books = {seed: book for seed, book in books.items() if book.best is not None}
    if not books:
        raise ValueError(
            "no seed had a finite validation figure: there is nothing to report"
        )
    splits = {name: data.splits[name] for name in ("valid", "test")}
    preds = _predict(setting, list(books), splits)
    result = {
        "system": config.system,
        "dataset": config.data.dataset,
        "seeds": list(books),
        **{name: _summary(setting, preds[name], data.labels[name]) for name in splits},
        "epochs": [len(book.history) for book in books.values()],
        "seconds": [round(book.seconds, 3) for book in books.values()],
        "version": msajax.__version__,
        "config_sha256": configs.sha256(config),
        "data_sha256": corpus.sha256,
        "checkpoint": _checkpoint_label(config),
        "stopped": {seed: book.stopped for seed, book in books.items() if book.stopped},
    }
    text = json.dumps(result, indent=2) + "\n"
    workdir.write(setting.folder / "results.json", text)
    for name in splits:
        path = setting.folder / f"predictions_{name}.csv"
        _write_predictions(path, setting, corpus.splits[name], preds[name])
    setting.console.print(table.render(result, splits=("test", "valid")))
    return 0 if len(books) == len(config.train.seeds) else 1


def _checkpoint_label(config: configs.Config) -> str:
    select = configs.phases(config)[-1].select
    return "last epoch" if select == "last" else f"best epoch by validation {select}"


def _predict(
    setting: Setting, seeds: Sequence[int], splits: Mapping[str, dict]
) -> dict[str, dict[int, np.ndarray]]:
    """{split: {seed: [N] or [N, C]}} of the best checkpoints in the workdir."""
    last = configs.phases(setting.config)[-1]
    forward = evaluate.make_forward(
        setting.model, setting.devices, predict=last.predict
    )
    put = functools.partial(parallel.replicate, devices=setting.devices)
    like = put(train.init(setting.model, jax.random.key(0)))
    data = put({name: _without_labels(arrays) for name, arrays in splits.items()})
    preds: dict[str, dict[int, np.ndarray]] = {name: {} for name in splits}
    for seed in seeds:
        found = _checkpoints(setting, seed).restore(lambda _: {"best": like})
        if found is None or "best" not in found[1]:
            raise ValueError(
                f"seed {seed} has no checkpoint in {setting.folder}; train it first, or "
                "choose others with --config.train.seeds"
            )
        best = train.variables(found[1]["best"])
        for name, arrays in data.items():
            rows = loader.ordered_rows(len(arrays["text"]), last.batch_size)
            preds[name][seed], _ = forward(best, arrays, rows, {})
    return preds


def _without_labels(arrays: Mapping) -> dict:
    return {k: v for k, v in arrays.items() if not k.startswith("label")}


def _summary(
    setting: Setting, preds: dict[int, np.ndarray], labels: np.ndarray
) -> dict:
    dataset = DATASETS[setting.config.data.dataset]
    return table.summarise(
        [evaluate.metrics_of(dataset, pred, labels) for pred in preds.values()]
    )


def _shown(setting: Setting, pred: np.ndarray) -> list:
    """Sentiment, or the name of the most probable class, of each row."""
    classes = setting.spec.classes
    if not classes:
        return [f"{value:.9g}" for value in pred]
    return [classes[i] for i in pred.argmax(axis=-1)]


def _write_predictions(
    path: pathlib.Path, setting: Setting, split: Split, preds: dict[int, np.ndarray]
) -> None:
    classes = setting.spec.classes
    labels = split.arrays["label"]
    shown = [classes[i] for i in labels] if classes else [f"{x:.9g}" for x in labels]
    rows = (
        (*row, seed)
        for seed, pred in preds.items()
        for row in zip(split.ids, shown, _shown(setting, pred), strict=True)
    )
    workdir.write_csv(path, ["id", "label", "prediction", "seed"], rows)
