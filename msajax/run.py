"""The three modes of the command line, each from a config and a workdir to files and a table."""

import argparse
import contextlib
import functools
import pathlib
import signal
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

import msajax
from msajax import config as configs
from msajax import (
    corpora,
    evaluate,
    feed,
    logs,
    metrics,
    output,
    parallel,
    processes,
    settings,
    step,
    takeover,
    text,
    train,
    workdir,
)
from msajax.book import Book
from msajax.data.spec import DATASETS, Corpus, Split
from msajax.report import table
from msajax.settings import Pairs
from msajax.signals import Question


def train_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """Trains every seed that is not finished, then reports on all."""
    for name in ("data", "output"):
        if getattr(args, name):
            raise ValueError(
                f"--{name} is for --mode evaluate and predict; to train on a file, set "
                "--config.data.path=FILE"
            )
    config = configs.load(args.config, pairs)
    folder = pathlib.Path(args.workdir)
    settings.set_up(config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(settings.joined(config))
        if processes.is_first():
            stack.enter_context(workdir.locked(folder))
            workdir.clean(folder)
        with processes.first_alone("data"):  # it may convert them for all
            corpus, hashes = corpora.training_corpus(config, folder)
            others = settings.phase_corpora(config, folder, corpus.vocabulary)
        hashes |= {name: other.sha256 for name, other in others.items()}
        processes.check_same("the recipe", configs.to_json(config))
        processes.check_same("the data files", f"{corpus.sha256} {hashes}")
        setting = settings.make(config, folder, settings.make_spec(config, corpus))
        settings.describe(setting, corpus)
        for note in setting.model.notes:
            setting.say(f"{config.system}: {note}")
        data = settings.on_devices(setting, corpus, others)
        at_once = settings.seeds_at_once(setting)
        programs = functools.cache(functools.partial(_programs, setting, data))
        programs(min(at_once, len(config.train.seeds)))
        initial = settings.initial(setting)
        taken = functools.cache(functools.partial(takeover.arrays, setting))
        _ = [taken(seed) for seed in config.train.seeds]
        # Only now: a recipe that cannot run does not take the folder.
        with processes.first_alone("claim"):
            first = processes.is_first()
            spec, sha256 = setting.spec, corpus.sha256
            workdir.claim(folder, config, spec, sha256, hashes, write_files=first)
            text.keep(config, folder, corpus.vocabulary)
        books = _finished(setting)
        left = [seed for seed in config.train.seeds if seed not in books]
        with Question() as stop:
            for i in range(0, len(left), at_once):
                seeds = left[i : i + at_once]
                starts = [initial | taken(seed) for seed in seeds]
                made = _fit(setting, programs(len(seeds)), data, seeds, starts, stop)
                books |= dict(zip(seeds, made, strict=True))
                if any(processes.agree(stop())):
                    setting.say(
                        f"saved in {folder}; the same command goes on from here"
                    )
                    return 128 + (stop.number or signal.SIGTERM)
        books = {seed: books[seed] for seed in config.train.seeds}
        return _report(setting, data, books, corpus)


def evaluate_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """The table of a workdir's checkpoints on a split, of its data or of another file."""
    setting = settings.trained(args, pairs)
    path = output.check(args.output) if args.output else None
    corpus = settings.known_corpus(setting, args.data)
    name, split = corpora.labelled_split(setting, corpus, args.split)
    arrays = settings.pad(setting, split)
    sources = settings.sources(setting, {name: arrays})
    settings.note_batches(setting, sources)
    preds = _predict(setting, setting.config.train.seeds, sources)[name]
    scores = _summary(setting, preds, arrays["label"])
    result = {
        "system": setting.config.system,
        "dataset": setting.config.data.dataset,
        "seeds": list(preds),
        name: scores,
        **_confusion(setting, {name: preds}, {name: arrays["label"]}),
    }
    _print(setting, result, (name,))
    if path:
        output.write_predictions(path, split, preds, setting.spec.classes)
        _note(setting, [split])
    return 0


def predict_mode(args: argparse.Namespace, pairs: Pairs) -> int:
    """A csv of id and score (mean over the seeds), or class, for every row of a file.

    It has a column for each figure that the system reports besides.
    """
    setting = settings.trained(args, pairs)
    path = output.check(args.output or setting.folder / "scores.csv")
    corpus = settings.known_corpus(setting, args.data, labels=False)
    arrays = {
        name: settings.pad(setting, split) for name, split in corpus.splits.items()
    }
    sources = settings.sources(setting, arrays)
    settings.note_batches(setting, sources)
    seeds, reports = setting.config.train.seeds, setting.model.reports
    preds = _predict(setting, seeds, sources)
    found = [_predict(setting, seeds, sources, method=method) for method in reports]
    rows = []
    for name, split in corpus.splits.items():
        scores = output.shown(
            np.mean(list(preds[name].values()), axis=0), setting.spec.classes
        )
        more = [np.mean(list(made[name].values()), axis=0) for made in found]
        for i, row in enumerate(zip(split.ids, scores, strict=True)):
            rows.append([*row, *(f"{x:.9g}" for values in more for x in values[i])])
    columns = [name for names in reports.values() for name in names]
    workdir.write_csv(path, ["id", "score", *columns], rows)
    _note(setting, corpus.splits.values())
    setting.say(f"{len(rows)} scores in {path}")
    return 0


MODES = {"train": train_mode, "evaluate": evaluate_mode, "predict": predict_mode}


def _programs(
    setting: settings.Setting, data: train.Data, seeds: int
) -> list[train.Program]:
    """The phases of a recipe, for so many seeds at once."""
    return [
        train.Program(
            setting.model,
            phase,
            data.dataset,
            data.splits[phase.data],
            cycles=setting.config.cycles,
            seeds=seeds,
            precision=setting.config.precision,
        )
        for phase in configs.phases(setting.config)
    ]


def _finished(setting: settings.Setting) -> dict[int, Book]:
    """The books of the seeds that are trained to their end."""
    books = {}
    for seed in setting.config.train.seeds:
        found = settings.checkpoints(setting, seed).restore(lambda _: {})
        if found and found[0].finished:
            books[seed] = found[0]
            with contextlib.closing(_log(setting, [seed])) as log:
                log.end([books[seed]])
    return books


def _log(setting: settings.Setting, seeds: Sequence[int]) -> logs.Log | logs.Silent:
    if not processes.is_first():
        return logs.Silent()
    folders = {seed: setting.folder / f"seed_{seed}" for seed in seeds}
    return logs.Log(folders, title=setting.config.system, console=setting.console)


def _fit(
    setting: settings.Setting,
    programs: Sequence[train.Program],
    data: train.Data,
    seeds: Sequence[int],
    starts: Sequence[Mapping[str, np.ndarray]],
    stop: Question,
) -> list[Book]:
    config = setting.config
    with contextlib.closing(_log(setting, seeds)) as log:
        books = train.fit(
            setting.model,
            programs,
            data,
            seeds=seeds,
            initial=starts,
            cycles=config.cycles,
            checkpoints=[settings.checkpoints(setting, seed) for seed in seeds],
            save_seconds=config.checkpoint.seconds,
            log=log,
            interrupted=stop,
        )
        if all(book.finished for book in books):
            log.end(books)
    return books


def _report(
    setting: settings.Setting, data: train.Data, books: dict[int, Book], corpus: Corpus
) -> int:
    """Writes results.json and the predictions, prints the table; the exit code."""
    config = setting.config
    stopped = {seed: book.stopped for seed, book in books.items() if book.stopped}
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
        "stopped": stopped,
        **_confusion(setting, preds, data.labels),
    }
    if processes.is_first():
        workdir.write_json(setting.folder / "results.json", result)
        for name in splits:
            path = setting.folder / f"predictions_{name}.csv"
            found = preds[name]
            output.write_predictions(
                path, corpus.splits[name], found, setting.spec.classes
            )
        _note(setting, [corpus.splits[name] for name in splits])
    _print(setting, result, ("test", "valid"))
    return 0 if len(books) == len(config.train.seeds) else 1


def _checkpoint_label(config: configs.Config) -> str:
    select = configs.phases(config)[-1].select
    return "last epoch" if select == "last" else f"best epoch by validation {select}"


def _predict(
    setting: settings.Setting,
    seeds: Sequence[int],
    splits: Mapping[str, feed.Source],
    *,
    method: str = "",
) -> dict[str, dict[int, np.ndarray]]:
    """{split: {seed: [N] or [N, C]}} of the best checkpoints in the workdir, by the last phase's method or another."""
    last = configs.phases(setting.config)[-1]
    forward = evaluate.make_forward(
        setting.model,
        setting.devices,
        predict=method or last.predict,
        precision=setting.config.precision,
    )
    put = functools.partial(parallel.replicate, devices=setting.devices)
    like = put(step.blank(setting.model))
    none = put({"lr_scale": np.ones(1, np.float32)})
    preds: dict[str, dict[int, np.ndarray]] = {name: {} for name in splits}
    for seed in seeds:
        found = settings.checkpoints(setting, seed).restore(lambda _: {"best": like})
        if found is None or "best" not in found[1]:
            raise ValueError(
                f"seed {seed} has no checkpoint in {setting.folder}; train it first, or "
                "choose others with --config.train.seeds"
            )
        if not found[0].finished:
            raise ValueError(
                f"seed {seed} in {setting.folder} is not trained to its end; run its "
                "training command again, or choose others with --config.train.seeds"
            )
        best = train.variables(train.stack([found[1]["best"]]))
        for name, source in splits.items():
            size = settings.batch_size(setting, source)
            preds[name][seed] = forward(best, source, size, none)[0][0]
    return preds


def _summary(
    setting: settings.Setting, preds: dict[int, np.ndarray], labels: np.ndarray
) -> dict:
    dataset = DATASETS[setting.config.data.dataset]
    return table.summarise(
        [evaluate.metrics_of(dataset, pred, labels) for pred in preds.values()]
    )


def _confusion(
    setting: settings.Setting,
    preds: Mapping[str, dict[int, np.ndarray]],
    labels: Mapping[str, np.ndarray],
) -> dict:
    """Of a classification: its classes, and the matrix of each seed by split; else {}."""
    if not setting.spec.classes:
        return {}
    counts = {
        name: [
            metrics.confusion(pred, labels[name]).tolist() for pred in seeds.values()
        ]
        for name, seeds in preds.items()
    }
    return {"classes": setting.spec.classes, "confusion": counts}


def _note(setting: settings.Setting, splits: Iterable[Split]) -> None:
    if note := output.formulas(splits):
        setting.say(f"ids: {note}")


def _print(setting: settings.Setting, result: dict, splits: Sequence[str]) -> None:
    """The table, and of a classification the first split's confusion matrix."""
    setting.console.print(table.render(result, splits=splits))
    if "confusion" in result:
        setting.console.print(table.confusion(result, splits[0]))
