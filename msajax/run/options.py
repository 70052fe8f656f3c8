"""The options of a recipe: one frozen dataclass per section, each option declared, defaulted and checked here.

`config.KEY` on the command line is a path through `Options`: config.train.batch_size.
Nothing changes options after they are made; `dataclasses.replace` makes others.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from msajax import models
from msajax.data import typed
from msajax.data.spec import DATASETS, MODALITIES, Size, Spec, suggest
from msajax.data.splits import check_shares
from msajax.data.typed import Count, NotNegative, Share
from msajax.encoders.lora import Lora
from msajax.models.base import Model
from msajax.run import model_options
from msajax.run.audio_options import AudioOptions
from msajax.run.text_options import TextOptions
from msajax.train.optim import Optimizer, check_regex
from msajax.train.plan import Phase, Training

Seed = Annotated[int, Ge(0), Le(2**32 - 1)]  # what a key of JAX holds


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(typed.Checked):
    """The data to train and measure on.

    Attributes:
      dataset: a name in `msajax.data.spec.DATASETS`: its labels and metrics.
      path: file or prepared store; empty for the store named DATASET/VARIANT.
      variant: which of the data set's files: 'aligned', 'unaligned'.
      format: format of the file; empty finds it from the content.
      encoding: encoding of texts that are not UTF-8: 'gbk', 'big5', ...
      dims: expected feature widths (text, audio, vision); empty takes the file's.
      lengths: expected longest sequences (text, audio, vision); empty takes the file's.
      truncate: cut longer sequences instead of refusing them.
      buckets: number of groups of rows of similar lengths, each with its own padding.
      on_device: whether a split stays on the device: 'auto' where it fits, 'always', or
        'never': batches are streamed from the host.
      modalities: modalities that the system sees.
      unlabelled: also train on rows without labels: 'train_mix' takes those of the data
        file, a FILE its rows; empty takes none.
      also: other data sets whose training rows join those of this one, for a system that
        writes universal labels: DATASET=FILE each, or DATASET for the store of that name.
      split: shares of train, valid and test, as (0.7, 0.15, 0.15), to divide all rows
        anew by whole videos; empty keeps the file's splits.
      fraction: share of the training rows, the first ones, to train on.
      seed: seed of the generated demo corpus, and of the division by `split`.
      weak: share of the demo corpus' clips whose modalities do not fit together.
    """

    where: dataclasses.InitVar[str] = "config.data"
    dataset: str = "demo"
    path: str = ""
    variant: str = ""
    format: str = ""
    encoding: str = ""
    dims: tuple[Size, ...] = ()
    lengths: tuple[Size, ...] = ()
    truncate: bool = False
    buckets: Size = 1
    on_device: Literal["auto", "always", "never"] = "auto"
    modalities: tuple[str, ...] = MODALITIES
    unlabelled: str = ""
    also: tuple[str, ...] = ()
    split: tuple[float, ...] = ()
    fraction: float = 1.0
    seed: Seed = 0
    weak: Share = 0.0

    def __post_init__(self, where: str):
        super().__post_init__(where)
        if self.dataset not in DATASETS:
            raise ValueError(
                f'unknown dataset "{self.dataset}"{suggest(self.dataset, DATASETS)}'
            )
        for key in ("dims", "lengths"):
            if len(getattr(self, key)) not in (0, 3):
                raise ValueError(
                    f"config.data.{key} is {getattr(self, key)}; give three numbers "
                    "(text, audio, vision), or () to take the file's"
                )
        if not self.modalities or set(self.modalities) - {*MODALITIES}:
            raise ValueError(
                f"config.data.modalities is {self.modalities}; give some of "
                f"{', '.join(MODALITIES)}"
            )
        check_shares(self.split, self.fraction)
        names = [self.dataset, *(entry.partition("=")[0] for entry in self.also)]
        for name in names[1:]:
            if name not in DATASETS or names.count(name) > 1:
                why = suggest(name, DATASETS) if name not in DATASETS else " twice"
                raise ValueError(
                    f"config.data.also is {', '.join(self.also)}; give data sets, each "
                    f"once and not {self.dataset}, as mosei=FILE,meld=FOLDER, but it has "
                    f'"{name}"{why}'
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(Training):
    """The training of every phase that does not say otherwise.

    Attributes:
      seeds: seeds of the random numbers; each is a training of its own.
      seeds_at_once: how many seeds one program trains; 'auto' takes as many as fit in half
        of a GPU's memory, and 1 on a CPU.
    """

    where: dataclasses.InitVar[str] = "config.train"
    seeds: tuple[Seed, ...] = (1, 2, 3, 4, 5)
    seeds_at_once: Size | Literal["auto"] = "auto"

    def __post_init__(self, where: str):
        super().__post_init__(where)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(
                f"config.train.seeds is {self.seeds}; give at least one seed, each a "
                "different whole number, for example 1,2,3"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelOptions(typed.Checked):
    """The devices and processes of a training.

    Attributes:
      devices: number of devices of each process that train; 0 takes all GPUs, or the
        processor as one device. One device of a processor is two in evaluation.
      coordinator: HOST:PORT where several processes meet; empty asks the launcher.
      num_processes: number of processes of the run; 0 asks the launcher (srun, mpirun),
        or is 1 without one.
      process_id: number of this process, from 0, where num_processes is given.
    """

    where: dataclasses.InitVar[str] = "config.parallel"
    devices: Count = 0
    coordinator: str = ""
    num_processes: Count = 0
    process_id: Count = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointOptions(typed.Checked):
    """Checkpoints.

    Attributes:
      seconds: least time between two saves.
    """

    where: dataclasses.InitVar[str] = "config.checkpoint"
    seconds: NotNegative = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(typed.Checked):
    """A recipe: everything that decides what a run computes, and how.

    Attributes:
      system: a name in `msajax.models.names()`.
      data, text, audio, train, optimizer: sections with classes of their own.
      model: hyperparameters, which are the fields of the system's module.
      epochs_scale: factor by which the epochs of all phases are multiplied: 0.1 for a
        short run.
      phases: stages of the training, each a dict that overrides values of train and
        optimizer; () is one stage.
      init_from: workdir of another run (each seed takes the seed of its number there), or
        the folder of one of its seeds; arrays of the same name are taken from its best
        checkpoint.
      init_parameters: regex of the names of the arrays that `init_from` takes.
      cycles: how often the sequence of phases is run; more than 1 alternates them.
      precision: how the network computes. 'float32' has no TF32; 'tf32' lets NVIDIA GPUs round the
        factors of products to 10 bits, and is float32 elsewhere; 'bfloat16' computes in
        bfloat16, with parameters, norms and losses in float32. 'auto' is bfloat16 on
        a GPU where a pretrained encoder is trained, else float32.
      parallel: devices and processes.
      deterministic: whether a GPU uses deterministic kernels (their cost: not measured).
      checkpoint: when checkpoints are saved.

    Raises:
      ValueError: an unknown system, data set, key of the model or of a phase, or
        options that do not fit each other; says which, and the nearest right one.
    """

    where: dataclasses.InitVar[str] = "config"
    system: str
    data: DataOptions = DataOptions()
    text: TextOptions = TextOptions()
    audio: AudioOptions = AudioOptions()
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    train: TrainOptions = TrainOptions()
    optimizer: Optimizer = Optimizer()
    epochs_scale: Annotated[float, Gt(0)] = 1.0
    phases: tuple[Mapping[str, Any], ...] = ()
    init_from: str = ""
    init_parameters: str = ".*"
    cycles: Size = 1
    precision: Literal["float32", "tf32", "bfloat16", "auto"] = "float32"
    parallel: ParallelOptions = ParallelOptions()
    deterministic: bool = True
    checkpoint: CheckpointOptions = CheckpointOptions()

    def __post_init__(self, where: str):
        super().__post_init__(where)
        model = model_options.check(self.system, self.model)
        object.__setattr__(self, "model", typed.frozen(model))
        for key in ("encoder", "vocabulary"):
            if getattr(self.text, key) and "text" not in self.data.modalities:
                raise ValueError(
                    f'config.text.{key} is set, but config.data.modalities lacks "text"'
                )
        if self.audio.encoder:
            model_options.check_voice(self.system, self.audio, self.data.modalities)
        model_options.check_steps(self.system, self.data.lengths, self.data.truncate)
        model_options.check_text(
            self.system,
            trained_encoder=self._trains_text,
            vocabulary=self.text.vocabulary,
        )
        model_options.check_labels(self.system, self.data.also, self.data.unlabelled)
        check_regex("config.init_parameters", self.init_parameters)
        if self.text.reinit_layers and (self.text.frozen or self.lora):
            raise ValueError(
                f"config.text.reinit_layers is {self.text.reinit_layers}, but the encoder's "
                "layers are not trained (config.text.frozen, config.optimizer.lora_rank) and "
                "would stay random; set it to 0"
            )
        self._check_rules()
        _ = self.plan

    @property
    def trains_encoder(self) -> bool:
        """Whether the system trains a pretrained encoder; one of the voice always counts."""
        return self._trains_text or bool(self.audio.encoder and not self.audio.frozen)

    @property
    def _trains_text(self) -> bool:
        return bool(self.text.encoder) and not self.text.frozen

    def without_effect(self, keys: Iterable[str]) -> list[str]:
        """A sentence about each of the keys, as 'train.epochs', that changes nothing in this recipe."""

        def has(phase: Mapping[str, Any], section: str, name: str) -> bool:
            if section == "train":
                return name in phase
            rule = phase.get("optimizer", {})
            groups = rule.get("groups", self.optimizer.groups)
            trained = [own for _, own in groups if own is not None]
            in_all = bool(trained) and all(name in own for own in trained)
            return section == "optimizer" and (name in rule or in_all)

        alone = {
            "optimizer.encoder_rate": (self.trains_encoder, "no encoder is trained"),
            "text.context_mark": (self.text.joined, "no utterances are joined"),
            "audio.frames": (self.audio.frozen, "no encoder of waves is frozen"),
        }
        idle = {key: why for key, (used, why) in alone.items() if not used}
        found = []
        for key in keys:
            section, _, name = key.partition(".")
            if why := idle.get(key):
                found.append(f"config.{key} has no effect: {why}")
            elif key == "optimizer.encoder_rate" and self.lora:
                found.append(
                    f"config.{key} has no effect on the encoder's layers: "
                    "the learning rate of their adapters is config.optimizer.lora_rate"
                )
            elif all(has(phase, section, name) for phase in self.phases or ({},)):
                advice = "; config.epochs_scale changes those of all phases"
                found.append(
                    f"config.{key} has no effect: the phases or optimizer groups of the recipe "
                    f"have values of their own{advice if name == 'epochs' else ''}"
                )
        return found

    def _check_rules(self) -> None:
        """Refuses settings of the training of an encoder that is not there."""
        rules = {"config.optimizer": self.optimizer}
        for i, phase in enumerate(self.plan):
            rules[f"config.phases[{i}].optimizer"] = phase.optimizer
        for where, rule in rules.items():
            for key, off, there, kind in (
                ("lora_rank", 0, self.trains_encoder, "encoder"),
                ("layer_decay", 1.0, self._trains_text, "encoder of text"),
            ):
                if (value := getattr(rule, key)) != off and not there:
                    raise ValueError(
                        f"{where}.{key} is {value}, but no {kind} is trained; name one by "
                        "config.text.encoder, with config.text.frozen=False, or set "
                        f"{key} to {off:g}"
                    )

    @functools.cached_property
    def lora(self) -> Lora | None:
        """The adapters of the encoder."""
        rule = self.optimizer
        if not rule.lora_rank:
            return None
        return Lora(rule.lora_rank, rule.lora_alpha, rule.lora_targets)

    @functools.cached_property
    def plan(self) -> tuple[Phase, ...]:
        """The phases with all their settings."""
        train = {
            f.name: getattr(self.train, f.name) for f in dataclasses.fields(Training)
        }
        found = []
        for i, changes in enumerate(self.phases or ({},)):
            where = f"config.phases[{i}]"
            rule = changes.get("optimizer", {})
            if not isinstance(rule, Mapping):
                raise ValueError(f"{where}.optimizer is {rule!r}, but must be a dict")
            rule = {**vars(self.optimizer), **rule}
            rule = typed.make(Optimizer, rule, f"{where}.optimizer")
            for key in ("lora_rank", "lora_alpha", "lora_targets"):
                if getattr(rule, key) != (value := getattr(self.optimizer, key)):
                    raise ValueError(
                        f"{where}.optimizer.{key} is {getattr(rule, key)}, but must be "
                        f"{value} as config.optimizer.{key}: the encoder has the same "
                        "adapters in all phases"
                    )
            phase = typed.make(Phase, {**train, **changes, "optimizer": rule}, where)
            found.append(phase.scaled(self.epochs_scale))
        names = [phase.name for phase in found]
        if len(set(names)) < len(names):
            raise ValueError(f"config.phases has a name twice: {', '.join(names)}")
        return tuple(found)


def build(
    options: Options, spec: Spec, encoder: Any = None, voice: Any = None
) -> Model:
    """The system of a recipe for a spec; encoder and voice are configs of the text's and the audio's, if it has them."""
    found = dict(encoder=encoder, voice=voice)
    given = {k: config for k, config in found.items() if config is not None}
    given |= {"lora": options.lora} if given else {}
    return models.get(options.system)(spec=spec, **given, **options.model)
