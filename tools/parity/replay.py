"""Our side of a case: a reference's inputs through our module, with its weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES, Spec
from msajax.models.base import Batch, Model
from msajax.weights import reference_form, template
from msajax.weights.table import Table
from tools.parity.case import Case

# Our outputs by the names that MMSA gives them.
_FEATURES = {
    "Feature_t": "text",
    "Feature_a": "audio",
    "Feature_v": "vision",
    "Feature_f": "fusion",
    "M": "pred",
    **{m[0].upper(): f"pred_{m}" for m in MODALITIES},
}

# Tasks by MMSA's letters for their labels.
LETTERS = {"all": "M", **{m: m[0].upper() for m in MODALITIES}}

# A case runs once: compiling fast matters more than running fast.
COMPILER = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


class Run(NamedTuple):
    """One forward and backward pass.

    Attributes:
      features: outputs, by the names that MMSA gives them.
      loss: a scalar.
      terms: of the loss.
      gradients: of the loss, a tree like the parameters; None if not asked for.
      of_inputs: the loss's gradients by fields of the batch that were asked for.
      collections: all others after the pass, captured intermediates among them.
    """

    features: dict[str, jax.Array]
    loss: jax.Array
    terms: dict[str, jax.Array]
    gradients: Any
    of_inputs: dict[str, jax.Array]
    collections: dict[str, Any]


def padded_batch(
    text: np.ndarray, audio: np.ndarray, vision: np.ndarray, labels: np.ndarray
) -> Batch:
    """A batch as a reference sees it that knows no lengths: all steps real, all rows valid.

    Args:
      text, audio, vision: [B, L, D] float32.
      labels: [B, 1] float32, or [B] integer classes.
    """
    sequences = dict(zip(MODALITIES, (text, audio, vision), strict=True))
    masks = {f"{m}_mask": np.ones(x.shape[:2], bool) for m, x in sequences.items()}
    rows = len(labels)
    batch = {
        **sequences,
        **masks,
        "label": labels.reshape(rows),
        "index": np.arange(rows, dtype=np.int32),
        "valid": np.ones(rows, bool),
    }
    return {name: jnp.asarray(array) for name, array in batch.items()}


def averaged_batch(case: Case) -> Batch:
    """The batch of MMSA's systems on averaged audio and vision, as the sequences behind the averages."""
    inputs = case.group("in/")
    audio, vision = (
        inputs.get(f"{name}_sequence", inputs[name]) for name in ("audio", "vision")
    )
    return padded_batch(inputs["text"], audio, vision, inputs["labels"])


def spec_of(batch: Batch, outputs: int = 1) -> Spec:
    """The spec of such a batch; with more than one output, that of a classification."""
    classes = tuple(f"class {i}" for i in range(outputs)) if outputs > 1 else ()
    (lt, dt), (la, da), (lv, dv) = (batch[m].shape[1:] for m in MODALITIES)
    return Spec(
        dims=(dt, da, dv),
        lengths=(lt, la, lv),
        num_train=len(batch["label"]),
        label_range=None if classes else (-3.0, 3.0),
        classes=classes,
    )


def dialogues(
    text: np.ndarray,
    mask: np.ndarray,
    speakers: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    vocabulary: int = 0,
    **others: np.ndarray,
) -> tuple[Spec, Batch]:
    """A batch of conversations, as conv-emotion's loaders give it, and its spec.

    Args:
      text: [U, B, D] float32 features, or with a vocabulary [U, B, W] ids of words.
      mask: [B, U], 1 on real utterances.
      speakers: [U, B, P] one-hot, zeros on padding.
      labels: [B, U] integer classes.
      classes: their number.
      vocabulary: size of that of the words.
      **others: features [U, B, D] of audio and vision.
    """
    rows, turns = mask.shape
    real = mask.astype(bool)
    arrays = {"text": text, **others}
    features = {m: np.swapaxes(arrays[m], 0, 1) for m in MODALITIES if m in arrays}
    dims = [features[m].shape[-1] if m in features else 1 for m in MODALITIES]
    if vocabulary:
        features["text_ids"], dims[0] = features.pop("text").astype(np.int32), 1
    batch = {
        **features,
        **{f"{m}_mask": real for m in MODALITIES},
        "utterance_mask": real,
        "speaker": np.argmax(speakers, -1).T.astype(np.int32) * real,
        "label": labels.astype(np.int32) * real,
        "index": np.arange(rows, dtype=np.int32),
        "valid": np.ones(rows, bool),
    }
    spec = Spec(
        dims=(dims[0], dims[1], dims[2]),
        lengths=(turns, turns, turns),
        num_train=rows,
        label_range=None,
        classes=tuple(f"class {i}" for i in range(classes)),
        fields=tuple(batch),
        vocabulary=vocabulary,
        turns=turns,
        speakers=speakers.shape[-1],
        words=text.shape[-1] if vocabulary else 0,
    )
    return spec, {name: jnp.asarray(array) for name, array in batch.items()}


def run(
    model: Model,
    variables: dict[str, Any],
    batch: Batch,
    *,
    train: bool = False,
    differentiate: bool = True,
    inputs: Sequence[str] = (),
    capture: type[nn.Module] | tuple[type[nn.Module], ...] = (),
    epoch: int = 0,
    method: str = "loss",
) -> Run:
    """Runs a system that draws no random numbers.

    Args:
      model: padded, without dropout.
      variables: its variables.
      batch: fits model.spec.
      train: BatchNorm on batch statistics.
      differentiate: compute gradients.
      inputs: fields of the batch whose gradients to compute too.
      capture: submodules of these types leave their outputs in the collection
        'intermediates'.
      epoch: that the loss is told.
      method: of the model, the loss.
    """
    others = jax.tree.map(jnp.asarray, {**variables})
    del others["params"]

    def captured(module: nn.Module, method: str) -> bool:
        return method == "__call__" and (
            module.name is None or isinstance(module, capture)
        )

    def loss_of(params, given):
        (loss, terms), after = model.apply(
            {"params": params, **others},
            {**batch, **given},
            train=train,
            progress={"epoch": epoch},
            method=method,
            mutable=[*others, "intermediates"],
            capture_intermediates=captured,
        )
        return loss, (terms, after)

    def compute(params, given):
        if differentiate:
            grad = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
            return grad(params, given)
        return loss_of(params, given), (None, {})

    run_once = jax.jit(compute, compiler_options=COMPILER)
    given = {name: batch[name] for name in inputs}
    (loss, (terms, after)), (gradients, of_inputs) = run_once(
        variables["params"], given
    )
    (outputs,) = after["intermediates"]["__call__"]
    features = {
        name: outputs[ours] for name, ours in _FEATURES.items() if ours in outputs
    }
    return Run(features, loss, terms, gradients, of_inputs, after)


def of_variant(
    case: Case,
    variant: str,
    model: Model,
    table: Table,
    batch: Batch,
    *,
    train: bool = False,
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """One of several sets of weights in a case of conversations.

    Args:
      case: has the weights as 'param/<variant>.<torch name>'.
      variant: its name.
      model: without dropout.
      table: of the model.
      batch: fits model.spec.
      train: BatchNorm on batch statistics; the variant's results then have its name with
        '_train', and the statistics after it are 'out/train_after/<variant>.<torch name>'.

    Returns:
      What the model returns; and 'loss/<variant>/total', 'grad/<variant>/<torch name>'.
    """
    variables = table.variables(
        case.group(f"param/{variant}."), template(model, batch, train=False)
    )
    result = run(model, variables, batch, train=train)
    (out,) = result.collections["intermediates"]["__call__"]
    gradients = table.arrays({"params": result.gradients})
    name = f"{variant}_train" if train else variant
    results = {f"grad/{name}/{k}": x for k, x in gradients.items()}
    if train:
        after = table.arrays({"batch_stats": result.collections["batch_stats"]})
        results |= {f"out/train_after/{variant}.{k}": x for k, x in after.items()}
    return out, {f"loss/{name}/total": result.loss, **results}


def unweighted(model: Model, out: dict[str, jax.Array], batch: Batch) -> jax.Array:
    """The task's loss of a model's predictions without class weights."""
    return model.clone(class_weights=()).task_loss(out["pred"], batch)


def log_softmax(logits: Any) -> np.ndarray:
    """[..., C] -> the same."""
    logits = np.asarray(logits)
    high = logits - logits.max(-1, keepdims=True)
    return high - np.log(np.exp(high).sum(-1, keepdims=True))


def eval_and_train(
    case: Case, model: Model, table: Table, batch: Batch
) -> dict[str, Any]:
    """Results of a system with BatchNorm, by the names in a case.

    Args:
      case: has the weights.
      model: padded, without dropout.
      table: of the model.
      batch: fits model.spec.

    Returns:
      'out/<mode>/<feature>', 'loss/<mode>/total' and 'grad/<mode>/<torch name>'
      for the modes 'eval' and 'train', and 'out/train_after/<torch name>'.
    """
    variables = table.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    results: dict[str, Any] = {}
    for mode in ("eval", "train"):
        result = run(model, variables, batch, train=mode == "train")
        gradients = table.arrays({"params": result.gradients})
        results |= {f"out/{mode}/{k}": v for k, v in result.features.items()}
        results |= {f"grad/{mode}/{k}": v for k, v in gradients.items()}
        results[f"loss/{mode}/total"] = result.loss
        for task in result.terms.keys() & LETTERS.keys():
            results[f"loss/{mode}/{LETTERS[task]}"] = result.terms[task]
        if mode == "train":
            after = table.arrays({"batch_stats": result.collections["batch_stats"]})
            results |= {f"out/train_after/{k}": v for k, v in after.items()}
    return results


def multi_task(
    case: Case,
    system: Callable[..., Model],
    table: Callable[[Model], Table],
    **fields: Any,
) -> dict[str, Any]:
    """Results of one of MMSA's systems on the labels M, T, A and V, as `eval_and_train`.

    Args:
      case: of the system.
      system: ours.
      table: of its names.
      **fields: of the system, beside those that these systems share.
    """
    inputs = case.group("in/")
    labels = {task: inputs[f"labels_{letter}"] for task, letter in LETTERS.items()}
    text, audio, vision = (
        inputs[n] for n in ("text", "audio_sequence", "vision_sequence")
    )
    batch = padded_batch(text, audio, vision, labels["all"])
    own = {f"label_{m}": jnp.asarray(labels[m].ravel()) for m in MODALITIES}
    spec = spec_of(batch, case.setting("output_dim"))
    model = system(
        dataclasses.replace(spec, fields=(*Spec.fields, *own)),
        hidden_dims=tuple(case.setting("hidden_dims")),
        post_dims=tuple(
            case.setting(f"post_{name}_dim") for name in ("text", "audio", "video")
        ),
        audio_dropout=0.0,
        vision_dropout=0.0,
        post_dropouts=(0.0, 0.0, 0.0),
        weights=tuple(case.setting("loss weights M,T,A,V")),
        **(reference_form(system.system()) | fields),
    )
    return eval_and_train(case, model, table(model), batch | own)
