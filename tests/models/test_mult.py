import functools

import jax
import numpy as np

from msajax.data.spec import MODALITIES, Spec
from msajax.models.mult import MulT
from msajax.weights import template

SPEC = Spec(dims=(5, 3, 4), lengths=(6, 9, 8), num_train=6)
TINY = dict(dim=6, heads=2, layers=1, kernel_sizes=(2, 3, 1))


@functools.cache
def model_of(spec=SPEC, **options):
    """(random variables, jitted prediction) of a tiny MulT."""
    model = MulT(spec, **{**TINY, **options})
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0.0, 0.5, leaf.shape).astype(np.float32),
        template(model, spec.example(2), train=False),
    )
    return variables, jax.jit(lambda v, b: model.apply(v, b, train=False))


def test_a_sample_is_the_reference_on_it_alone():
    """Without padding the faithful form and ours are the same computation."""
    batch = SPEC.example(2)
    alone = {name: x[:1] for name, x in batch.items()}
    for name, steps in zip(MODALITIES, (4, 7, 5), strict=True):
        batch[f"{name}_mask"][0] = np.arange(batch[name].shape[1]) < steps
        for key in (name, f"{name}_mask"):
            alone[key] = alone[key][:, :steps]
    variables, ours = model_of()
    _, reference = model_of(padded=True)
    together, single = ours(variables, batch), reference(variables, alone)
    for name in (*MODALITIES, "fusion", "pred"):
        np.testing.assert_allclose(together[name][0], single[name][0], atol=1e-4)


def test_padding_matters_to_the_faithful_form():
    batch = SPEC.example(3, seed=4)
    variables, ours = model_of()
    _, reference = model_of(padded=True)
    difference = ours(variables, batch)["pred"] - reference(variables, batch)["pred"]
    assert np.abs(difference).max() > 1e-3


def test_aligned_audio_has_the_texts_steps():
    batch = SPEC.example(3)
    same = {**batch, "audio": batch["audio"].copy()}
    # Pooled to one text step, only the mean of the audio counts.
    for name in ("text", "text_mask"):
        batch[name] = same[name] = batch[name][:, :1]
    steps = batch["audio_mask"].sum(1)
    for row, n in enumerate(steps):
        same["audio"][row, :n] = batch["audio"][row, :n].mean(0)
    variables, predict = model_of(align=True)
    np.testing.assert_allclose(
        predict(variables, batch)["pred"], predict(variables, same)["pred"], atol=1e-4
    )


def test_quirk_only_matters_where_feature_0_is_zero():
    spec = Spec(dims=(6, 6, 6), lengths=(4, 4, 4), num_train=6)
    variables, plain = model_of(spec, padded=True)
    _, quirk = model_of(spec, padded=True, fairseq_zero_pos=True)
    batch = spec.example(2)
    for name in MODALITIES:
        batch[name][..., 0] = 1.0
    before = plain(variables, batch)["pred"]
    np.testing.assert_allclose(quirk(variables, batch)["pred"], before, atol=1e-5)
    batch["text"][:, 1, 0] = 0.0
    difference = quirk(variables, batch)["pred"] - plain(variables, batch)["pred"]
    assert np.abs(difference).max() > 1e-4


def test_features_of_the_common_width_are_not_projected():
    spec = Spec(dims=(6, 3, 6), lengths=(4, 4, 4), num_train=6)
    variables, _ = model_of(spec)
    projections = {name for name in variables["params"] if "projection" in name}
    assert projections == {"audio_projection"}


def test_memory_encoders_have_at_least_three_layers():
    params = model_of()[0]["params"]
    assert params["text_memory"]["layers"]["fc1"]["kernel"].shape == (3, 12, 48)
    assert params["audio_to_text"]["layers"]["fc1"]["kernel"].shape == (1, 6, 24)


def test_text_may_be_words():
    """Of a vocabulary; `test_cormult.py` computes with the same network."""
    fields = (*(name for name in Spec.fields if name != "text"), "text_ids")
    spec = Spec((1, 3, 4), (6, 9, 8), 6, fields=fields, vocabulary=9)
    model = MulT(spec, **TINY)
    made, variables = jax.eval_shape(
        lambda key: model.init_with_output(key, spec.example(2), train=False),
        jax.random.key(0),
    )
    assert made["pred"].shape == (2,)
    assert variables["params"]["words"]["embedding"].shape == (9, TINY["dim"])
