"""Self-MM of thuiar/MMSA; its cases also hold label tables over simulated epochs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES, Spec
from msajax.encoders.bert import BertConfig
from msajax.models.base import Batch
from msajax.models.self_mm import SelfMM
from msajax.weights import template
from msajax.weights.self_mm import _LETTERS, table
from tools.parity.case import Case
from tools.parity.replay import COMPILER, padded_batch, run


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = _batch(case)
    model = _model(case, batch)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    for m in _LETTERS.values():
        label = case.arrays[f"in/label_table/{m}"]
        variables["memory"][f"label_{m}"] = jnp.asarray(label)
    # Any epoch but the first reads the table.
    result = run(model, variables, batch, train=True, epoch=1)
    evaluated = run(model, variables, batch, differentiate=False)
    gradients = rules.arrays({"params": result.gradients})
    results = {
        **{f"out/{name}": x for name, x in result.features.items()},
        **{f"loss/{letter}": x for letter, x in _by_letter(result.terms).items()},
        "loss/total": result.loss,
        "loss/eval_M": evaluated.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
    }
    for name, exclude in (("exclude_zero", True), ("include_zero", False)):
        if case.expects(f"out/sim/{name}/"):
            results |= _simulated(case, model.clone(exclude_zero=exclude), name)
    return results


def _simulated(case: Case, model: SelfMM, name: str) -> dict[str, Any]:
    """The memory after each step, of given features and predictions."""
    inputs = case.group("in/sim/")
    y, order = inputs["labels_M"], inputs["order"]
    memory = {f"label_{m}": jnp.asarray(y) for m in _LETTERS.values()}
    memory |= {
        f"feature_{m}": jnp.zeros_like(inputs[f"features_{m}"][0])
        for m in _LETTERS.values()
    }
    step, found, tables = _step(model), [], []
    before = [memory]
    steps = len(case.arrays[f"out/sim/{name}/loss_M"]) // len(order)
    size = -(-len(order[0]) // steps)  # the last batch may be smaller
    for epoch, rows in enumerate(order):
        for index in np.split(rows, range(size, len(rows), size)):
            memory, losses, centres = step(memory, *_rows(inputs, epoch, index))
            found.append((losses, centres))
            before.append(memory)
        tables.append(memory)
    losses, centres = jax.tree.map(lambda *steps: np.stack(steps), *found)
    prefix = f"out/sim/{name}"
    results = {f"{prefix}/loss_{letter}": x for letter, x in losses.items()}
    for m, both in centres.items():
        results[f"{prefix}/center_{m}_pos"], results[f"{prefix}/center_{m}_neg"] = (
            both[:, i] for i in (0, 1)
        )
        labels = [memory[f"label_{m}"] for memory in before]
        features = [memory[f"feature_{m}"] for memory in tables]
        results[f"{prefix}/labels_{m}"] = np.stack(labels)
        results[f"out/sim/features_after_epoch_{m}"] = np.stack(features)
    return results


def _rows(inputs: Any, epoch: int, index: np.ndarray) -> tuple[Any, ...]:
    """(features, predictions, batch, epoch) of a simulated step."""
    features = {m: inputs[f"features_{m}"][epoch, index] for m in _LETTERS.values()}
    pred = {k: inputs[f"predictions_{k}"][epoch, index] for k in _LETTERS}
    real = np.ones(len(index), bool)
    batch = {f"{m}_mask": real[:, None] for m in MODALITIES}
    batch |= dict(index=index, label=inputs["labels_M"][index], valid=real)
    return features, pred, batch, epoch


def _step(model: SelfMM) -> Callable[..., Any]:
    """A simulated step: (memory, features, predictions, batch, epoch) -> (memory, losses, centres)."""
    apply: Callable[..., Any] = model.apply

    def step(memory, features, pred, batch, epoch):
        out = {f"pred_{m}": pred[letter] for letter, m in _LETTERS.items()}
        out["pred"] = pred["M"]
        variables = {"memory": memory}
        losses = apply(variables, out, batch, epoch, method="task_losses")
        _, variables = apply(
            variables, features, batch, epoch, method="remember", mutable=["memory"]
        )
        centres = {m: apply(variables, m, method="centres")[0] for m in features}
        return variables["memory"], _by_letter(losses), centres

    return jax.jit(step, compiler_options=COMPILER)


def _by_letter(losses: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Losses of tasks by MMSA's letters."""
    return {k: losses["all" if k == "M" else m] for k, m in _LETTERS.items()}


def _batch(case: Case) -> Batch:
    """The inputs; aligned audio and vision are as long as the text."""
    inputs = case.group("in/")
    ids, mask, segments = np.moveaxis(inputs["text_bert"], 1, 0).astype(np.int32)
    index = inputs["index"]
    text = np.zeros((*ids.shape, 1), np.float32)  # no features: only its length counts
    label = inputs["label_table/fusion"][index]
    batch = padded_batch(text, inputs["audio"], inputs["vision"], label)
    pieces = dict(text_ids=ids, text_type=segments, text_mask=mask > 0, index=index)
    for m in ("audio", "vision"):
        aligned = case.setting("need_data_aligned")
        length = mask.sum(axis=1) if aligned else inputs[f"{m}_lengths"]
        pieces[f"{m}_mask"] = np.arange(inputs[m].shape[1]) < length[:, None]
    return batch | {name: jnp.asarray(array) for name, array in pieces.items()}


def _model(case: Case, batch: Batch) -> SelfMM:
    (lt, dt), (la, da), (lv, dv) = (batch[m].shape[1:] for m in MODALITIES)

    def settings(names: str) -> Any:
        return tuple(case.setting(name) for name in names.split())

    return SelfMM(
        Spec((dt, da, dv), (lt, la, lv), num_train=case.setting("train_samples")),
        encoder=BertConfig.read(case.setting("bert")),
        hidden_dims=settings("a_lstm_hidden_size v_lstm_hidden_size"),
        out_dims=settings("audio_out video_out"),
        post_dims=settings("post_text_dim post_audio_dim post_video_dim"),
        fusion_dim=case.setting("post_fusion_dim"),
        post_dropouts=(0.0, 0.0, 0.0),
        bound=float(case.setting("H")),
    )
