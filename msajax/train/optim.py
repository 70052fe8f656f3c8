"""Optimizers: [(parameter regex, settings)] to one optax transform, and the schedules."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from msajax.data import typed
from msajax.data.typed import Count, NotNegative, Positive, PositiveShare, ShareBelowOne
from msajax.encoders.lora import ENCODERS, is_adapter

# What reads the last of an encoder's layers: the pooler, T5's norm, its decoder and head.
_ABOVE = r"encoder/(pooler|encoder/final_layer_norm|decoder|lm_head)/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(typed.Checked):
    """Settings of one phase's optimizer.

    Attributes:
      name: 'adam' (weight decay is coupled L2, as torch.optim.Adam's), 'amsgrad'
        (the same with amsgrad=True), 'adamw' (decoupled), 'rmsprop' (coupled, as
        torch.optim.RMSprop, whose alpha is b2: 0.99 by default there) or 'sgd'.
      learning_rate: peak learning rate.
      encoder_rate: peak learning rate of pretrained encoders, in groups without one of
        their own; 0: learning_rate.
      weight_decay: L2 coefficient.
      b1, b2: shares of the running averages of gradients and of their squares that
        Adam keeps at each update; RMSprop keeps those of squares.
      eps: added to the denominator of the update of Adam and RMSprop.
      clip_norm: largest global norm of the gradient; 0 leaves it alone.
      clip_value: largest absolute value in the gradient; 0 leaves it alone.
      schedule: 'constant', 'warmup_linear' (up, then down to 0),
        'warmup_cosine', or 'plateau' (as PyTorch's ReduceLROnPlateau).
      warmup: share of the phase's updates in which the rate rises.
      plateau_patience: epochs without a better validation loss before the schedule
        'plateau' lowers the learning rate.
      plateau_factor: what it multiplies the learning rate by.
      groups: (regex, settings) pairs. The first regex that matches the whole
        path of a parameter ('encoder/layer_0/kernel') gives it its own
        learning_rate and weight_decay; None freezes it. Empty: one group.
      layer_decay: factor of the learning rate from each layer of the pretrained encoder to
        the one below; the last layer has the whole rate, the embeddings the lowest.
      lora_rank: rank of adapters of the pretrained encoder, which are trained instead of
        the parameters of its layers and embeddings; 0 trains these. The same in all phases.
      lora_rate: peak learning rate of the adapters, in place of their group's.
      lora_alpha: what the adapters add has the factor lora_alpha / lora_rank.
      lora_targets: names of the encoder's dense layers that have an adapter; () is
        those of queries and values.
    """

    where: dataclasses.InitVar[str] = "config.optimizer"
    name: Literal["adam", "amsgrad", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: NotNegative = 1e-3
    encoder_rate: NotNegative = 0.0
    weight_decay: NotNegative = 0.0
    b1: ShareBelowOne = 0.9
    b2: ShareBelowOne = 0.999
    eps: NotNegative = 1e-8
    clip_norm: NotNegative = 0.0
    clip_value: NotNegative = 0.0
    schedule: Literal["constant", "warmup_linear", "warmup_cosine", "plateau"] = (
        "constant"
    )
    warmup: ShareBelowOne = 0.0
    plateau_patience: Count = 10
    plateau_factor: NotNegative = 0.1
    groups: tuple[tuple[str, Mapping[str, NotNegative] | None], ...] = ()
    layer_decay: PositiveShare = 1.0
    lora_rank: Count = 0
    lora_rate: NotNegative = 3e-4
    lora_alpha: Positive = 16.0
    lora_targets: tuple[str, ...] = ()

    def __post_init__(self, where: str):
        super().__post_init__(where)
        if self.warmup and not self.schedule.startswith("warmup"):
            raise ValueError(
                f'{where}.warmup is {self.warmup}, but the schedule "{self.schedule}" '
                'has none; set schedule to "warmup_linear" or "warmup_cosine"'
            )
        for key in ("lora_rate", "lora_alpha", "lora_targets"):
            value = getattr(self, key)
            if not self.lora_rank and value != getattr(type(self), key):
                raise ValueError(
                    f"{where}.{key} is {value}, but {where}.lora_rank is 0, so that there are "
                    "no adapters; set lora_rank, for example to 8"
                )
        for regex, settings in self.groups:
            check_regex(f"the regex of a group of {where}.groups", regex)
            unknown = {*(settings or ())} - {"learning_rate", "weight_decay"}
            if unknown:
                raise ValueError(
                    f'{where}.groups: "{regex}" sets {sorted(unknown)}; a group may set '
                    "learning_rate and weight_decay"
                )


def check_regex(what: str, regex: str) -> None:
    """Refuses what is no regular expression.

    Raises:
      ValueError: says what is wrong with it.
    """
    try:
        re.compile(regex)
    except (re.error, TypeError) as error:
        raise ValueError(f"{what} is {regex!r}, which is no regex: {error}") from error


def assign(
    optimizer: Optimizer, paths: Iterable[str], *, encoders: Collection[str] = ENCODERS
) -> dict[str, int | None]:
    """Group of each parameter: its index in `optimizer.groups`, None where frozen.

    Args:
      optimizer: has the groups.
      paths: of the parameters that a phase trains.
      encoders: the pretrained ones that the system has. Groups of others are passed over
        ("encoder/...", "voice/..."): a recipe that fine-tunes also trains on features.

    Raises:
      ValueError: a parameter that no regex covers, a regex that covers nothing, or an
        encoder_rate for groups that all have a rate of their own.
    """
    paths = list(paths)
    if not optimizer.groups:
        return dict.fromkeys(paths, 0)
    regexes = [re.compile(regex) for regex, _ in optimizer.groups]
    found: dict[str, int | None] = {}
    for path in paths:
        group = next((i for i, r in enumerate(regexes) if r.fullmatch(path)), None)
        if group is None:
            raise ValueError(
                f'no optimizer group covers the parameter "{path}"; add a group, for '
                'example (".*", {}) at the end, or (regex, None) to freeze it'
            )
        found[path] = group
    begin = dict.fromkeys(path.partition("/")[0] for path in paths)
    # The frozen layers may be all that there are: nothing is left for the next groups.
    partly = {
        regex.partition("/")[0]
        for i, (regex, settings) in enumerate(optimizer.groups)
        if settings is None and i in found.values()
    }
    for i, (regex, _) in enumerate(optimizer.groups):
        first = regex.partition("/")[0]
        absent = first in ENCODERS and (first in partly or first not in encoders)
        if i not in found.values() and not absent:
            raise ValueError(
                f'the optimizer group "{regex}" matches no parameter that an earlier '
                f"group left. Parameters begin with {', '.join(begin)}"
            )
    frozen = {i for i, (_, settings) in enumerate(optimizer.groups) if settings is None}
    found = {path: None if i in frozen else i for path, i in found.items()}
    rated = [
        "learning_rate" in (optimizer.groups[i][1] or ())
        for path, i in found.items()
        if i is not None and _of_encoder(path)
    ]
    if optimizer.encoder_rate and rated and all(rated):
        raise ValueError(
            f"config.optimizer.encoder_rate is {optimizer.encoder_rate:g}, but the optimizer "
            "groups of the encoder have a learning_rate of their own; change it there "
            "(config.optimizer.groups, or those of config.phases), or set encoder_rate to 0"
        )
    return found


def build(
    optimizer: Optimizer,
    groups: Mapping[str, int],
    *,
    updates: int,
    accumulate: int,
    values: Mapping[str, Any] = {},
) -> optax.GradientTransformation:
    """One transform over a flat dict of trained parameters.

    Args:
      optimizer: the settings.
      groups: group of each parameter path, as `assign` returns it, frozen
        parameters left out.
      updates: number of updates in the phase, for the schedules.
      accumulate: batches whose gradients are averaged into one update. (MMSA
        sums them; Adam does not see the difference but for its weight decay.)
      values: a learning_rate, encoder_rate or weight_decay, possibly traced, in place of
        the settings'. Groups with one of their own keep it.

    Returns:
      A transform whose updates are to be added to the parameters.
    """
    count = len(optimizer.groups) or 1
    apart = optimizer.encoder_rate > 0 or "encoder_rate" in values
    # A group's adapters, and its parameters of encoders, are groups of their own.
    labels: dict[str, int] = {}
    parts: dict[int, tuple[int, str]] = {}
    for path, i in groups.items():
        label, rate = i, "learning_rate"
        if is_adapter(path):
            label, rate = -1 - i, "lora_rate"
        elif apart and _of_encoder(path):
            label, rate = i + count, "encoder_rate"
        labels[path], parts[label] = label, (i, rate)
    rules = {}
    for label, (i, rate) in parts.items():
        own = dict((optimizer.groups[i][1] if optimizer.groups else None) or {})
        if rate == "lora_rate":
            own.pop("learning_rate", None)
        settings = {"learning_rate": getattr(optimizer, rate), **own}
        peak = values.get(rate)
        if rate == "encoder_rate" and peak is not None:  # 0 is not known before it runs
            whole = values.get("learning_rate", optimizer.learning_rate)
            peak = jnp.where(peak > 0, peak, whole)
        given = {"learning_rate": peak, "weight_decay": values.get("weight_decay")}
        given = {k: v for k, v in given.items() if k not in own}
        rule = dataclasses.replace(optimizer, groups=(), **settings)
        rules[label] = _rule(rule, updates, **given)
    clips = []
    if optimizer.clip_value:
        clips.append(optax.clip(optimizer.clip_value))
    if optimizer.clip_norm:
        clips.append(optax.clip_by_global_norm(optimizer.clip_norm))
    transform = optax.chain(*clips, optax.partition(rules, labels))
    if optimizer.layer_decay < 1:
        # A rule's learning rate is the last factor of its updates, weight decay included.
        factors = _layer_factors(groups, optimizer.layer_decay)

        def scale(updates: Any, _: Any) -> Any:
            return {k: factors[k] * x for k, x in updates.items()}

        transform = optax.chain(transform, optax.stateless(scale))
    if accumulate > 1:
        transform = optax.MultiSteps(
            transform, every_k_schedule=accumulate
        ).gradient_transformation()
    return transform


def _of_encoder(path: str) -> bool:
    return path.partition("/")[0] in ENCODERS


def layer_of(path: str) -> int | None:
    """Which of the encoder's layers a parameter belongs to, from 0; None: to none."""
    found = re.match(r"encoder/(?!decoder/)(?:.*/)?layer/(\d+)/", path)
    return int(found[1]) if found else None


def _layer_factors(paths: Iterable[str], decay: float) -> dict[str, float]:
    """The factor of each parameter's learning rate: decay^(layers above it), 1 outside of an encoder.

    What is in none of the encoder's layers is below them (embeddings, a shared table of
    positions), but for what reads the last one (`_ABOVE`).
    """
    layers = {k: layer_of(k) for k in paths}
    top = max((i for i in layers.values() if i is not None), default=-1)
    factors = {}
    for k, layer in layers.items():
        if not k.startswith("encoder/") or re.match(_ABOVE, k):
            layer = top
        factors[k] = decay ** (top - (-1 if layer is None else layer))
    return factors


def _rule(
    o: Optimizer, updates: int, learning_rate: Any = None, weight_decay: Any = None
) -> optax.GradientTransformation:
    """The transform of one group; values that are given may be traced."""
    peak = o.learning_rate if learning_rate is None else learning_rate
    share = o.weight_decay or None if weight_decay is None else weight_decay
    decay = [] if share is None else [optax.add_decayed_weights(share)]
    rate = optax.scale_by_learning_rate(_schedule(o, updates, peak))
    if o.name == "sgd":
        return optax.chain(*decay, rate)
    if o.name == "rmsprop":
        rms = optax.scale_by_rms(o.b2, o.eps, eps_in_sqrt=False)
        return optax.chain(*decay, rms, rate)
    scale = _scale_by_amsgrad if o.name == "amsgrad" else optax.scale_by_adam
    adam = scale(b1=o.b1, b2=o.b2, eps=o.eps)
    order = (adam, *decay) if o.name == "adamw" else (*decay, adam)
    return optax.chain(*order, rate)


class _AmsgradState(NamedTuple):
    adam: Any
    largest: Any


def _scale_by_amsgrad(*, b1: float, b2: float, eps: float):
    """Adam divided by the largest second moment so far, as torch.optim.Adam(amsgrad=True).

    The largest moment is taken before the bias correction. optax takes it after the
    correction, and early gradients then damp every later step.
    """
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    def init(params: Any) -> _AmsgradState:
        return _AmsgradState(adam.init(params), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        moments: Any = adam.update(updates, state.adam, params)[1]
        largest = jax.tree.map(jnp.maximum, state.largest, moments.nu)
        first, second = (1 - b**moments.count for b in (b1, b2))
        steps = jax.tree.map(
            lambda m, v: m / first / (jnp.sqrt(v / second) + eps), moments.mu, largest
        )
        return steps, _AmsgradState(moments, largest)

    return optax.GradientTransformation(init, update)


def _schedule(o: Optimizer, updates: int, peak: Any) -> optax.ScalarOrSchedule:
    warmup = round(o.warmup * updates)
    if o.schedule == "warmup_linear":
        down = optax.linear_schedule(peak, 0.0, max(updates - warmup, 1))
    elif o.schedule == "warmup_cosine":
        down = optax.cosine_decay_schedule(peak, max(updates - warmup, 1))
    else:  # A plateau scales the updates from outside: it depends on validation.
        return peak
    up = optax.linear_schedule(0.0, peak, max(warmup, 1))
    return optax.join_schedules([up, down], [warmup])
