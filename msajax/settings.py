"""What a config and a workdir make together: data, system and devices of a run."""

import argparse
import contextlib
import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from msajax import compiled, feed, parallel, processes, step, text, train, workdir
from msajax import config as configs
from msajax.checkpoint import Checkpoints
from msajax.data import clean, demo, loader, splits, store, unlabelled, vocabulary
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Spec, Split, suggest
from msajax.models.base import Model

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


def read_corpus(
    config: configs.Config,
    folder: pathlib.Path,
    path: str | None = None,
    *,
    labels: bool = True,
    with_unlabelled: bool = False,
    words: tuple[str, ...] = (),
) -> Corpus:
    """The corpus of a config, or of another file read as its dataset, as the system takes its text.

    Args:
      config: of the run.
      folder: its workdir.
      path: of another file, whose rows are taken as they are.
      labels: read them.
      with_unlabelled: keep rows without labels where labels are wanted.
      words: the run's vocabulary, where its folder does not hold it yet.
    """
    corpus = _read(config, path, labels=labels)
    if labels and not with_unlabelled:
        corpus = unlabelled.drop(corpus)
    if path is None:
        if config.data.split:
            corpus = splits.divide(corpus, config.data.split, seed=config.data.seed)
        corpus = splits.first(corpus, config.data.fraction)
    if config.text.vocabulary:
        return text.number_words(config, folder, corpus, words)
    if not config.text.encoder:
        return corpus
    return text.prepare(config, folder, corpus)


def _read(config: configs.Config, path: str | None, *, labels: bool) -> Corpus:
    data = config.data
    if path is None and data.dataset == "demo" and not data.path:
        if not 0 <= data.weak <= 1:
            raise ValueError(f"config.data.weak is {data.weak}; give a share, 0 to 1")
        if data.seed < 0:
            raise ValueError(f"config.data.seed is {data.seed}; give one from 0")
        corpus = demo.generate(data.seed, weak=data.weak)
        return clean.select(corpus, data.modalities)
    if data.weak and path is None:
        raise ValueError("config.data.weak is for the generated demo corpus alone")
    name = "/".join(part for part in (data.dataset, data.variant) if part)
    return store.open_corpus(
        path or data.path or name,
        dataset=data.dataset,
        format="" if path else data.format,
        labels=labels,
        modalities=data.modalities,
        limit=_host_limit(data.on_device),
        encoding=data.encoding,
    )


def _host_limit(on_device: str) -> float:
    """Bytes of sequences above which they stay in their store and are read row by row."""
    if on_device == "auto":
        return parallel.host_memory() // 4
    return 0 if on_device == "never" else math.inf


def known_corpus(setting: Setting, path: str | None, *, labels: bool = True) -> Corpus:
    """The corpus to evaluate or predict on; says what was cleaned or is absent."""
    corpus = read_corpus(setting.config, setting.folder, path, labels=labels)
    if path is None and corpus.sha256 != workdir.data_sha256(setting.folder):
        raise ValueError(
            f"{setting.config.data.path} is not the file that was trained on: its "
            "content has changed; to evaluate on it all the same, name it with --data"
        )
    describe(setting, corpus)
    return corpus


def describe(setting: Setting, corpus: Corpus, title: str = "data") -> None:
    """Says what was cleaned in a corpus, or is absent."""
    for note in corpus.notes:
        setting.say(f"{title}: {note}")
    present = {name for split in corpus.splits.values() for name in split.arrays}
    for name, dim in zip(MODALITIES, setting.spec.dims, strict=True):
        if dim > 1 and name not in present:
            setting.say(f"{title}: {name} is absent; every row counts as lacking it")


def need_splits(corpus: Corpus, names: Sequence[str]) -> None:
    """Refuses a corpus that lacks one of the splits."""
    for name in names:
        if name not in corpus.splits:
            raise ValueError(
                f'the data has no split "{name}"{suggest(name, corpus.splits)}'
            )


def make_spec(config: configs.Config, corpus: Corpus) -> Spec:
    """What a corpus to train on is, checked against what the recipe expects."""
    need_splits(corpus, ("train", "valid", "test"))
    spec = loader.make_spec(corpus, **expected(config, corpus))
    if "text" not in spec.fields and not _cuts_text(config):
        raise ValueError(
            "the data has word pieces of the text but no features; name the encoder that "
            "they were made for (config.text.encoder, with config.text.frozen=True for a "
            'system that takes features), or leave "text" out of config.data.modalities'
        )
    return spec


def _cuts_text(config: configs.Config) -> bool:
    """Whether the system reads the text in pieces: an encoder's, or words of the run's own."""
    return bool(config.text.encoder or config.text.vocabulary)


def expected(config: configs.Config, corpus: Corpus) -> dict[str, Any]:
    """What a recipe expects of a corpus: the arguments of `loader.make_spec`."""
    data = config.data
    dims, lengths = data.dims, data.lengths
    if _cuts_text(config):  # it fixes those of the text, not the recipe's features
        arrays = corpus.splits["train"].arrays
        steps, *dim = arrays["text" if "text" in arrays else "text_ids"].shape[1:]
        dims = (*dim, *dims[1:]) if dim and dims else dims
        lengths = (steps, *lengths[1:]) if lengths else lengths
    sizes = [p.batch_size for p in configs.phases(config) if p.data == "train"]
    return dict(
        dims=dims,
        lengths=lengths,
        truncate=data.truncate,
        batch_size=max(sizes, default=0),
    )


def make(config: configs.Config, folder: pathlib.Path, spec: Spec) -> Setting:
    """The system and the devices of a run, after `set_up`."""
    devices = parallel.find_devices(config.parallel.devices)
    console = Console(quiet=not processes.is_first())
    model = configs.build(config, spec, text.encoder_of(config, folder))
    return Setting(config, folder, spec, model, devices, console)


@contextlib.contextmanager
def joined(config: configs.Config) -> Iterator[None]:
    """The other processes of the run, where its config or its launcher says that there are some.

    Their addresses leave the config: they are no part of what the workdir keeps.
    """
    values = config.parallel
    place = values.coordinator, values.num_processes, values.process_id
    values.coordinator, values.num_processes, values.process_id = "", 0, 0
    with processes.joined(*place):
        yield


def set_up(config: configs.Config) -> None:
    """Settings of jax that it reads when it is first asked for a device."""
    if config.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if config.parallel.devices > 1:
        parallel.split_processor(config.parallel.devices)
    # On NVIDIA GPUs the default would round the factors of float32 products to TF32.
    jax.config.update("jax_default_matmul_precision", "float32")
    if jax.config.values["jax_compilation_cache_dir"] is None:
        compiled.keep(pathlib.Path("~/.cache/msajax/compiled").expanduser())


def trained(args: argparse.Namespace, pairs: Pairs) -> Setting:
    """The setting of a workdir that holds a run, with the command line's values."""
    folder = pathlib.Path(args.workdir)
    config = workdir.load_config(folder)
    for key, value in pairs:
        configs.override(config, key, value)
    configs.check(config)
    if config.parallel.coordinator or config.parallel.num_processes > 1:
        raise ValueError(
            "only training runs in several processes; leave config.parallel.coordinator "
            "and num_processes away"
        )
    if args.config:
        changed = configs.differences(configs.load(args.config, pairs), config)
        if changed:
            raise ValueError(
                f"{folder} holds another run than {args.config}, with "
                f"{'; '.join(changed)}; leave --config away to take the saved one"
            )
    set_up(config)
    spec = workdir.load_spec(folder)
    if spec.vocabulary and vocabulary.size(vocabulary.read(folder) or ()) != (
        spec.vocabulary
    ):
        raise ValueError(
            f"{folder} lacks the {vocabulary.FILE} that its run was trained with; delete "
            "what is there and run the training command again, which writes it"
        )
    return make(config, folder, spec)


def pad(setting: Setting, split: Split) -> dict[str, np.ndarray]:
    """The arrays of a split as the system takes them."""
    truncate = setting.config.data.truncate
    return loader.pad(split, setting.spec, truncate=truncate)


def phase_corpora(
    config: configs.Config, folder: pathlib.Path, words: tuple[str, ...]
) -> dict[str, Corpus]:
    """The phases' own data by the file: {path: corpus without labels}.

    Args:
      config: of the run.
      folder: its workdir.
      words: its vocabulary, if it has one.

    Raises:
      ValueError: one cannot be read, or has no split to train on.
    """
    paths = sorted({phase.data for phase in configs.phases(config)} - {"train"})
    read = functools.partial(read_corpus, config, folder, labels=False, words=words)
    found = {path: read(path) for path in paths}
    for path, corpus in found.items():
        unlabelled.rows_of(path, corpus)
    return found


def on_devices(
    setting: Setting, corpus: Corpus, others: Mapping[str, Corpus]
) -> train.Data:
    """All splits of a corpus and the phases' own data, on the devices or ready to be streamed."""
    splits = {name: pad(setting, split) for name, split in corpus.splits.items()}
    labels = {name: arrays["label"] for name, arrays in splits.items()}
    for path, other in others.items():
        describe(setting, other, path)
        splits[path] = pad(setting, unlabelled.rows_of(path, other))
    return train.Data(DATASETS[corpus.dataset], sources(setting, splits), labels)


def sources(
    setting: Setting, splits: dict[str, dict[str, np.ndarray]]
) -> dict[str, feed.Source]:
    """Splits as the batches are taken from them, without padding that no row needs."""
    data, cut = setting.config.data, not setting.model.fixed_length
    if data.buckets > 1 and not cut:
        raise ValueError(
            f"config.data.buckets is {data.buckets}, but what {setting.config.system} "
            "computes depends on the padded length in this recipe; set it to 1"
        )
    if data.on_device == "never" and data.buckets > 1:
        feed.refuse_buckets(data.buckets)
    parts = {
        name: loader.parts(arrays, data.buckets, cut=cut)
        for name, arrays in splits.items()
    }
    resident = data.on_device == "always" or (
        data.on_device == "auto" and parallel.fit(parts, setting.devices)
    )
    # Machines with less memory than others decide for all.
    (streamed,) = processes.agree(not resident)
    return {
        name: feed.source(made, setting.devices, resident=not streamed)
        for name, made in parts.items()
    }


def batch_size(setting: Setting, source: feed.Source) -> int:
    """Rows of a batch in evaluation: the last phase's, or all where there are fewer."""
    return min(configs.phases(setting.config)[-1].batch_size, max(source.sizes))


def note_batches(setting: Setting, splits: Mapping[str, feed.Source]) -> None:
    """Says which splits are smaller than a batch of the recipe."""
    wanted = configs.phases(setting.config)[-1].batch_size
    for name, source in splits.items():
        if (size := batch_size(setting, source)) < wanted:
            setting.say(
                f"{name}: in batches of {size} rows, not {wanted}: it has no more"
            )


def seeds_at_once(setting: Setting) -> int:
    """How many seeds one program trains.

    A GPU waits for launches: five seeds cost hardly more than one, as long as
    parameters, gradients and Adam's moments fit in half of its memory. On a CPU,
    where the products are what costs, one after the other is as fast or faster
    (tools/bench.py --seeds 5).
    """
    at_once = setting.config.train.seeds_at_once
    if at_once != "auto":
        return at_once
    if parallel.on_cpu(setting.devices):
        return 1
    shapes = step.shapes(setting.model)
    size = 4 * sum(4 * leaf.size for leaf in jax.tree.leaves(shapes))
    fitting = parallel.memory(setting.devices) // 2 // size
    # Machines with less memory than others decide for all.
    return processes.least(max(1, min(len(setting.config.train.seeds), fitting)))


def initial(setting: Setting) -> dict[str, np.ndarray]:
    """The pretrained values among the system's initial parameters; says what was read."""
    values, report = text.weights(setting.config, setting.model)
    if report:
        setting.say(str(report))
    return values


def checkpoints(setting: Setting, seed: int) -> Checkpoints:
    """The checkpoints of a seed in the workdir."""
    return workdir.checkpoints(setting.folder, seed, setting.say)
