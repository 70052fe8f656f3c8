"""Conversations end to end: what a run writes is over utterances, whatever the view."""

import dataclasses

import numpy as np
import pytest

import msajax
from msajax.data import demo_dialogues
from msajax.data.spec import Corpus

SMALL = {"model.hidden": 6, "model.post_dim": 5, "model.layers": 1}
TEST = demo_dialogues.generate(0).splits["test"]


def fitted(**options):
    options = {"train.epochs": 2, "train.batch_size": 16, **SMALL, **options}
    return msajax.fit("bc_lstm:dialogue_demo", seeds=(1,), options=options, quiet=True)


@pytest.fixture(scope="module")
def trained():
    return fitted()


def test_predictions_are_of_utterances_by_id(trained):
    results = trained.evaluate("test")
    made = results.predictions["test"]
    assert made.ids.tolist() == TEST.ids.tolist()
    assert made.seeds[1].shape == (len(TEST), 3)
    np.testing.assert_array_equal(made.labels, TEST.arrays["label"])
    accuracy = np.mean(made.seeds[1].argmax(-1) == TEST.arrays["label"])
    assert results.splits["test"]["accuracy"]["mean"] == pytest.approx(accuracy)


def test_the_order_of_the_rows_does_not_matter(trained):
    order = np.random.default_rng(0).permutation(len(TEST))
    found = trained.predict(Corpus("dialogue_demo", {"all": TEST.take(order)}))
    assert found.ids.tolist() == TEST.ids[order].tolist()
    wanted = trained.evaluate("test").predictions["test"].seeds[1][order]
    np.testing.assert_allclose(found.seeds[1], wanted, atol=1e-5)


def test_streamed_dialogues_train_the_same(trained):
    again = fitted(**{"data.on_device": "never"})
    wanted = trained.evaluate("test").predictions["test"].seeds[1]
    found = again.evaluate("test").predictions["test"].seeds[1]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_buckets_by_turns_predict_as_one(trained):
    wanted = trained.evaluate("test").predictions["test"].seeds[1]
    options = trained.options
    data = dataclasses.replace(options.data, buckets=3)
    other = dataclasses.replace(
        trained, options=dataclasses.replace(options, data=data)
    )
    found = other.evaluate("test").predictions["test"].seeds[1]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_outputs_are_of_utterances(trained):
    states = trained.outputs("test", "states")[1]
    assert states.shape == (len(TEST), 12)
    model = msajax.create_model("mm_dfn", trained.spec, hidden=2, graph_dim=3, layers=1)
    other = dataclasses.replace(trained, model=model)
    with pytest.raises(ValueError, match='"intra" of bc_lstm is not of utterances'):
        other.outputs("test", "intra")


def test_data_without_dialogues_say_what_to_give():
    bare = demo_dialogues.generate(0)
    for split in bare.splits.values():
        del split.arrays["dialogue"]
    with pytest.raises(ValueError, match="reads whole dialogues.*MELD's csv"):
        msajax.fit("bc_lstm:dialogue_demo", bare, options=SMALL, quiet=True)


@pytest.mark.slow
def test_what_the_demo_dialogues_need():
    """The label is the speaker's last mood: utterances do not tell it, dialogues with speakers do."""
    alone = {
        "model.hidden_dims": (32, 16, 16),
        "model.text_out": 32,
        "model.post_fusion_dim": 32,
        "train.select": "weighted_f1",
        "train.epochs": 30,
    }
    corpus = msajax.load_data(dataset="dialogue_demo")
    model = msajax.create_model("lf_dnn", corpus)
    utterances = msajax.fit(model, corpus, seeds=(1,), options=alone, quiet=True)
    dialogues = msajax.fit("mm_dfn:dialogue_demo", seeds=(1,), quiet=True)
    found = [
        run.evaluate("test").splits["test"]["accuracy"]["mean"]
        for run in (utterances, dialogues)
    ]
    assert found[0] < 0.6 and found[1] > 0.95
