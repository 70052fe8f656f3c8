"""Systems and data small enough to train in a test."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax import parallel
from msajax.data import loader
from msajax.data.spec import DATASETS, Corpus, Spec, Split
from msajax.encoders.bert import BertConfig
from msajax.encoders.body import BodyConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.t5 import T5Config
from msajax.encoders.xlnet import XLNetConfig
from msajax.models.base import Model
from msajax.train import checkpoint, feed, fit, step

# Conversations of at most six turns and three speakers, on the text alone.
DIALOGUES = Spec(
    dims=(5, 1, 1),
    lengths=(6, 6, 6),
    num_train=6,
    label_range=None,
    classes=("a", "b", "c"),
    fields=(*Spec.fields, "utterance_mask", "speaker"),
    turns=6,
    speakers=3,
)
SPEC = Spec(dims=(3, 4, 5), lengths=(5, 7, 6), num_train=22)
# Encoders of the two tokens that `Spec.example` makes; without dropout of their own.
SIZES = dict(
    vocab_size=2,
    hidden_size=6,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=9,
    max_position_embeddings=10,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
BERT, MPNET = BertConfig(**SIZES), MPNetConfig(**SIZES)
ELECTRA = dataclasses.replace(BERT, embedding_size=5)
DEBERTA = DebertaConfig(
    **{f.name: getattr(BERT, f.name) for f in dataclasses.fields(BodyConfig)},
    position_buckets=4,
    conv_kernel_size=3,
)
XLNET = XLNetConfig(
    vocab_size=2, d_model=6, n_layer=2, n_head=2, d_inner=9, dropout=0.0
)
T5 = T5Config(
    vocab_size=2, d_model=6, d_kv=4, d_ff=9, num_layers=2, num_heads=2, dropout_rate=0.0
)


class Toy(Model, kw_only=True):
    """A teacher on audio and a student on text, with dropout, statistics and a memory."""

    dim: int = 4
    rate: float = 0.2
    finite_epochs: int = 1000  # after these the loss is NaN

    def setup(self):
        self.teacher = nn.Dense(1)
        self.norm_teacher = nn.BatchNorm(momentum=0.5)
        self.student = nn.Sequential([nn.Dense(self.dim), nn.tanh, nn.Dense(1)])
        self.dropout = nn.Dropout(self.rate)
        self.seen = self.variable(
            "memory", "seen", jnp.zeros, (self.spec.num_train,), jnp.float32
        )

    def __call__(self, batch, *, train):
        self.teacher_pred(batch, train=False)
        text = self.dropout(batch["text"].mean(1), deterministic=not train)
        if train:
            rows, valid = map(parallel.gather, (batch["index"], batch["valid"]))
            self.seen.value = self.seen.value.at[rows].add(valid.astype(jnp.float32))
        return {"pred": self.student(text)[:, 0]}

    def loss(self, batch, *, train, progress):
        loss, terms = super().loss(batch, train=train, progress=progress)
        return jnp.where(progress["epoch"] < self.finite_epochs, loss, jnp.nan), terms

    def teacher_pred(self, batch, *, train):
        audio = batch["audio"].mean(1)
        # Statistics over the global batch; the test's batches have no filler rows.
        mean = parallel.gather(audio).mean(0)
        self.norm_teacher(
            jnp.broadcast_to(mean[None], audio.shape), use_running_average=not train
        )
        return {"pred": self.teacher(audio)[:, 0]}

    def teacher_loss(self, batch, *, train, progress):
        pred = self.teacher_pred(batch, train=train)["pred"]
        return self.task_loss(pred, batch), {"epoch": progress["epoch"] * 1.0}

    def spread_loss(self, batch, *, train, progress):
        """A loss of the teacher that reads no labels."""
        pred = self.teacher_pred(batch, train=train)["pred"]
        return parallel.batch_mean((pred - 1) ** 2, where=batch["valid"]), {}


def examples(spec, rows, *, seed, label=lambda batch: batch["label"]):
    """A corpus of a spec's examples: so many rows of train, valid and test, labels a function of them."""
    splits = {}
    for i, (name, num) in enumerate(zip(("train", "valid", "test"), rows, strict=True)):
        batch = spec.example(num, seed=seed + i)
        batch["label"] = label(batch)
        arrays = {k: v for k, v in batch.items() if k not in ("index", "valid")}
        ids = np.array([f"{name}_{j}" for j in range(num)])
        splits[name] = Split(ids, np.full(num, "some words"), arrays)
    return Corpus("demo", splits, sha256="0" * 64)


def corpus(seed=0):
    """22 training rows and 8 of each other split, labels a function of text and audio."""

    def label(batch):
        shown = batch["text"].mean((1, 2)) + batch["audio"].mean((1, 2))
        return np.clip(3 * shown, -3, 3).astype(np.float32)

    return examples(SPEC, (22, 8, 8), seed=10 * seed, label=label)


@functools.cache
def ours(devices, **options):
    """Our corpus on devices, the same one for all who ask."""
    return on_devices(devices, given=corpus(), **options)


def on_devices(devices, *, given, spec=SPEC, resident=True, buckets=1):
    """A corpus of a spec on devices, as `train.fit` takes it."""
    splits = {k: loader.pad(v, spec) for k, v in given.splits.items()}
    places = dict.fromkeys(splits, parallel.to_evaluate(devices)) | {"train": devices}
    sources = {
        k: feed.source(loader.parts(v, buckets), places[k], resident=resident)
        for k, v in splits.items()
    }
    labels = {k: v["label"] for k, v in splits.items()}
    return fit.Data(DATASETS["demo"], sources, labels)


def train(
    system,
    phases,
    data,
    folders,
    *,
    stop_after=None,
    cycles=1,
    precision="float32",
    save_seconds=math.inf,
    seeds=(),
    values=None,
    prune=lambda i, book: "",
):
    """Trains a system with seeds {seed: folder} at once, or folders of any names and `seeds`.

    Implicit transfers are errors; `stop_after` interrupts it after so many
    dispatches, where it saves, as at its end and every `save_seconds`. Returns (book,
    best state or None) of each seed.
    """
    calls = []

    def interrupted():
        calls.append(1)
        return len(calls) == stop_after

    devices = data.splits["train"].devices
    programs = [
        _program(
            system,
            p,
            data,
            cycles=cycles,
            seeds=len(folders),
            precision=precision,
            varies=tuple(values or ()),
        )
        for p in phases
    ]
    checkpoints = [checkpoint.Checkpoints(folder) for folder in folders.values()]
    books = fit.fit(
        system,
        programs,
        data,
        seeds=tuple(seeds or folders),
        cycles=cycles,
        checkpoints=checkpoints,
        save_seconds=save_seconds,
        log=Quiet(),
        interrupted=interrupted,
        values=values or {},
        prune=prune,
    )
    like = parallel.replicate(step.blank(system), devices)
    found = [folder.restore(lambda _: {"best": like}) for folder in checkpoints]
    bests = [f[1].get("best") if f else None for f in found]
    return list(zip(books, bests, strict=True))


_PROGRAMS: dict[tuple, tuple[step.Program, feed.Source]] = {}


def _program(system, phase, data, **options):
    """A phase's program, compiled once for all trainings of a test file that take it."""
    source = data.of(phase)
    key = system, repr(phase), id(source), tuple(options.items())
    if key not in _PROGRAMS:
        program = step.Program(system, phase, data.dataset, source, **options)
        program.loop = _guarded(program.loop)
        program.forward = _guarded(program.forward)
        _PROGRAMS[key] = program, source  # which keeps its id
    return _PROGRAMS[key][0]


def _guarded(run):
    """The same function; an implicit transfer between host and device is an error."""

    def call(*args):
        with jax.transfer_guard("disallow"):
            return run(*args)

    return call


class Quiet:
    """A log that says nothing."""

    def begin(self, histories):
        """Starts."""

    def steps(self, books, phase, done, steps, *, active):
        """Moves."""

    def epoch(self, seed, book):
        """Ends an epoch."""
