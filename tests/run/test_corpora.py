"""Rows without labels: taken into training where a recipe asks for them, never measured."""

import dataclasses

import numpy as np
import pytest

from msajax.data import demo
from msajax.run import corpora, recipe

RECIPE = "lf_dnn:demo"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))


def write(path, splits, **changes):
    """Some rows of the demo corpus' splits as our npz; 'unlabelled' has rows of test."""
    corpus = demo.generate(0).splits
    arrays = {"id": [], "split": [], "label": [], "audio": []}
    for name, rows in splits.items():
        source = corpus["test" if name == "unlabelled" else name].take(np.array(rows))
        arrays["id"] += [f"{name} {i}" for i in source.ids]
        arrays["split"] += [name] * len(source)
        arrays["label"] += [source.arrays["label"]]
        arrays["audio"] += [source.arrays["audio"]]
    values = {k: np.concatenate(arrays[k]) for k in ("label", "audio")}
    np.savez(path, **arrays | values | changes)
    return str(path)


@pytest.fixture
def mixed(tmp_path):
    rows = dict(train=range(5), valid=range(2), test=range(2), unlabelled=range(3, 6))
    return write(tmp_path / "mixed.npz", rows)


def chosen(path, unlabelled=""):
    pairs = [("data.path", path), ("data.unlabelled", unlabelled)]
    return recipe.load(RECIPE, [*pairs, ("data.modalities", "audio")])


def test_only_on_demand(mixed, tmp_path):
    corpus, hashes = corpora.training_corpus(chosen(mixed), tmp_path)
    assert len(corpus.splits["train"]) == 5 and hashes == {}
    assert "left out: 3 rows without labels" in corpus.notes[-1]
    sha256 = corpus.sha256
    corpus, hashes = corpora.training_corpus(chosen(mixed, "train_mix"), tmp_path)
    assert len(corpus.splits["train"]) == 8 and hashes == {}
    assert corpus.notes[-1] == "training: 5 rows with labels, 3 without"
    assert corpus.sha256 == sha256
    with pytest.raises(ValueError, match="32 rows, but the training split only 8"):
        corpora.make_spec(chosen(mixed), corpus)


def test_a_file_of_its_own(mixed, tmp_path):
    other = write(tmp_path / "other.npz", dict(unlabelled=range(4)))
    corpus, hashes = corpora.training_corpus(chosen(mixed, other), tmp_path)
    assert (
        corpus.splits["train"].arrays["labelled"].tolist() == [True] * 5 + [False] * 4
    )
    assert hashes.keys() == {other} and len(hashes[other]) == 64
    wrong = write(
        tmp_path / "wrong.npz", dict(unlabelled=[0]), audio=np.ones((1, 2, 3))
    )
    with pytest.raises(ValueError, match=r"wrong.npz: audio has 3 features"):
        corpora.training_corpus(chosen(mixed, wrong), tmp_path)
    with pytest.raises(ValueError, match="nothing.npz: no such file"):
        corpora.training_corpus(chosen(mixed, "nothing.npz"), tmp_path)


def test_rows_without_labels_are_not_measured(mixed, tmp_path):
    corpus, _ = corpora.training_corpus(chosen(mixed, "train_mix"), tmp_path)
    name, split, left_out = corpora.labelled_split(corpus, "train")
    assert (name, len(split), left_out) == ("train", 5, 3)
    name, split, left_out = corpora.labelled_split(corpus, "test")
    assert (name, len(split), left_out) == ("test", 2, 0)
    with pytest.raises(ValueError, match='no split "tets"; did you mean "test"'):
        corpora.labelled_split(corpus, "tets")
    rows = demo.generate(0).splits["test"]
    alone = dataclasses.replace(corpus, splits={"unlabelled": rows})
    with pytest.raises(ValueError, match="no labels; to score it, use predict"):
        corpora.labelled_split(alone, "test")


def test_iml_cmms_semi_supervised_row_asks_for_them():
    assert recipe.load("iml_cmm:simsv2/semi").data.unlabelled == "train_mix"
    assert recipe.load("iml_cmm:simsv2").data.unlabelled == ""


def test_files_that_cannot_be_trained_on_alone_say_what_to_do(mixed, tmp_path):
    alone = write(tmp_path / "unsup.npz", dict(unlabelled=range(3)))
    with pytest.raises(ValueError, match="--config.data.unlabelled=FILE"):
        corpora.need_splits(
            corpora.training_corpus(chosen(alone), tmp_path)[0], ["train"]
        )
    whole = write(tmp_path / "whole.npz", dict(train=range(3)))
    with pytest.raises(ValueError, match=r"--config.data.split=0.7,0.15,0.15"):
        corpora.make_spec(
            chosen(whole), corpora.training_corpus(chosen(whole), tmp_path)[0]
        )
    with pytest.raises(ValueError, match="config.data.unlabelled: none.npz: no such"):
        corpora.training_corpus(chosen(mixed, "none.npz"), tmp_path)


def test_only_training_is_told_how_to_take_rows_without_labels(mixed, tmp_path):
    corpus, _ = corpora.training_corpus(chosen(mixed), tmp_path)
    assert "config.data.unlabelled=train_mix" in corpus.notes[-1]
    corpus = corpora.read_corpus(chosen(mixed), tmp_path)
    assert corpus.notes[-1] == "left out: 3 rows without labels"
