"""MLF-DNN: predictions and losses against numpy, and labels that the data lacks."""

import dataclasses

import jax
import numpy as np
import pytest

from msajax.models.mlf_dnn import MLFDNN
from tests.models import multi_tasks
from tests.models.multi_tasks import BATCH, OWN, SIZES, SPEC
from tests.weights import numpy_reference

WEIGHTS = (0.5, 2.0, 1.0, 4.0)


def test_predictions_and_losses_are_the_references():
    fields = dict(text_out=4, post_fusion_dim=5, weights=WEIGHTS)
    model, variables, out = multi_tasks.compare(
        "mlf_dnn", numpy_reference.lf_dnn, **fields
    )
    options = dict(train=False, progress=None, method="loss")
    loss = jax.jit(lambda v: model.apply(v, BATCH, **options))(variables)
    labels = ("label", *OWN)
    names = ("pred", "pred_text", "pred_audio", "pred_vision")
    losses = [
        np.abs(out[name] - BATCH[label]).mean()
        for name, label in zip(names, labels, strict=True)
    ]
    np.testing.assert_allclose(loss[0], np.dot(WEIGHTS, losses), rtol=1e-5)
    found = [loss[1][name] for name in ("all", "text", "audio", "vision")]
    np.testing.assert_allclose(found, losses, rtol=1e-5)


def test_rows_have_a_part_in_the_losses_of_the_modalities_that_they_have():
    rng, mask = np.random.default_rng(0), np.array([True, False, True, True, True])
    out = {f"pred{m}": rng.normal(size=5) for m in ("", "_text", "_audio", "_vision")}
    batch = {**BATCH, "valid": np.arange(5) < 4}
    batch["audio_mask"] = batch["audio_mask"] & mask[:, None]
    total, terms = MLFDNN(SPEC, **SIZES).loss_of_tasks(out, batch, WEIGHTS)
    losses = {
        "all": np.abs(out["pred"] - batch["label"])[:4].mean(),
        "text": np.abs(out["pred_text"] - batch["label_text"])[:4].mean(),
        "audio": np.abs(out["pred_audio"] - batch["label_audio"])[[0, 2, 3]].mean(),
        "vision": np.abs(out["pred_vision"] - batch["label_vision"])[:4].mean(),
    }
    for name, value in losses.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)
    np.testing.assert_allclose(total, np.dot(WEIGHTS, [*losses.values()]), rtol=1e-5)


def test_a_label_that_the_data_lacks_is_refused_if_it_has_a_weight():
    fields = tuple(name for name in SPEC.fields if name != "label_audio")
    spec = dataclasses.replace(SPEC, fields=fields)
    message = "MLFDNN learns a label of each modality, but the data has no label_audio;"
    with pytest.raises(ValueError, match=message):
        multi_tasks.ready("mlf_dnn", spec)
    weights = (1.0, 0.5, 0.0, 0.5)
    _, variables = multi_tasks.ready("mlf_dnn", spec, weights=weights)
    assert {"post_text_1", "post_vision_3"} < set(variables["params"])
    assert "post_audio_1" not in variables["params"]
    # Nor does a modality that the data lacks need one.
    spec = dataclasses.replace(spec, dims=(5, 1, 4), lengths=(4, 1, 7))
    _, variables = multi_tasks.ready("mlf_dnn", spec)
    assert "post_audio_1" not in variables["params"]
