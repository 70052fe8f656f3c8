import dataclasses
import itertools
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

import msajax
from msajax.data import demo, loader
from msajax.data.spec import MODALITIES
from msajax.run import corpora, recipe, workdir
from msajax.run.options import Options
from tools import correlation_auc


def test_the_area_by_hand():
    matched, foreign = np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])
    assert correlation_auc.auc(matched, foreign) == pytest.approx(4.5 / 6)
    assert correlation_auc.auc(foreign, foreign) == 0.5


@dataclasses.dataclass
class Run:
    """A run as far as its clips are concerned."""

    options: Options
    folder: pathlib.Path = pathlib.Path("runs")
    console: Any = None


def of(folder, *pairs, name="cormult:demo"):
    return Run(recipe.load(name, pairs), folder)


def test_pairs_whose_modality_is_foreign(tmp_path, monkeypatch):
    """With coefficients that are how well the first features of two modalities fit."""

    def coefficients(run, splits):
        assert run == "run" and list(splits) == ["", *MODALITIES]
        made = {}
        for name, split in splits.items():
            first = {
                m: split.arrays[m][:, 0, 0] * split.arrays[f"{m}_mask"].sum(axis=1)
                for m in MODALITIES
            }
            pairs = itertools.combinations(MODALITIES, 2)
            made[name] = {(a, b): -np.abs(first[a] - first[b]) for a, b in pairs}
        return made

    monkeypatch.setattr(correlation_auc, "coefficients", coefficients)
    clips = demo.generate(7, num=(4, 4, 30)).splits["test"].arrays
    split = np.repeat(["train", "test"], [4, 30])
    arrays = {}
    for m in MODALITIES:
        values = np.zeros((30, 5, clips[m].shape[-1]))
        values[:, 0] = np.arange(1, 31)[:, None]
        arrays[m] = np.concatenate([values[:4], values])
        arrays[f"{m}_length"] = np.full(34, 5)
    np.savez(tmp_path / "clips.npz", id=np.arange(34), split=split, **arrays)
    found = correlation_auc.clips(of(tmp_path), str(tmp_path / "clips.npz"))
    areas = correlation_auc.measure("run", found)
    assert len(areas) == 6 and set(areas.values()) == {1.0}
    assert next(iter(areas)) == "text and audio, foreign text"


def test_coefficients_are_those_of_a_run(tmp_path, monkeypatch):
    """Of random parameters, each seed's own."""
    options = recipe.load("cormult:demo", [("train.seeds", "1,2")])
    sizes = dict(dim=2, heads=1, layers=1, mce_dim=4, mce_layers=1, mce_hidden=4)
    options = recipe.change(options, {f"model.{k}": v for k, v in sizes.items()})
    corpus = demo.generate(0, num=(8, 4, 20))
    workdir.claim(tmp_path, options, loader.make_spec(corpus), corpus.sha256)
    run = msajax.open_run(tmp_path)

    def best(run, seed, like):
        assert seed == 2
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), like)

    monkeypatch.setattr("msajax.run.run.Run.best", best)
    split = corpus.splits["test"]
    splits = {"a": split, "b": correlation_auc.mixed(split, "text"), "c": split}
    found = correlation_auc.coefficients(correlation_auc.by_seed(run)[1], splits)
    pairs = [("text", "audio"), ("text", "vision"), ("audio", "vision")]
    assert all(list(of) == pairs for of in found.values())
    for pair in pairs:
        a, b, c = (found[name][pair] for name in "abc")
        assert a.shape == (20,) and np.ptp(a) > 0
        np.testing.assert_array_equal(a, c)
        assert (np.abs(a - b).max() > 1e-6) == ("text" in pair)


def test_a_line_is_of_all_seeds(monkeypatch, capsys):
    run = Run(recipe.load("cormult:demo", [("train.seeds", "1,2")]))
    monkeypatch.setattr(msajax, "open_run", lambda folder: run, raising=False)
    monkeypatch.setattr(correlation_auc, "clips", lambda run, file: "split")
    areas = {(1,): {"x": 0.5, "y": 1.0}, (2,): {"x": 0.6, "y": 1.0}}

    def measure(run, split):
        assert split == "split" and run.console.quiet
        return areas[run.options.train.seeds]

    monkeypatch.setattr(correlation_auc, "measure", measure)
    assert correlation_auc.main(["--workdir", "runs"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{'x':32} 0.550 ± 0.050" and second.endswith(" 1.000 ± 0.000")


def test_rows_of_the_training_are_not_measured(tmp_path):
    run = of(tmp_path, name="cormult:demo/paper")
    corpus = corpora.read_corpus(run.options, tmp_path)
    found = set(correlation_auc.clips(run, None).ids.tolist())
    assert found == set(corpus.splits["test"].ids.tolist())
    assert any(i.startswith("train") for i in found)


def test_clips_are_those_that_the_run_measures(tmp_path):
    """Of a file with rows without labels, which no run divides."""
    own = demo.generate(3, num=(40, 10, 10), weak=0.5).splits
    arrays = {k: [] for k in ("id", "split", "label", "labelled", *MODALITIES)}
    for name, split in own.items():
        stands = "unlabelled" if name == "valid" else name
        arrays["id"] += split.ids.tolist()
        arrays["split"] += [stands] * len(split)
        arrays["labelled"] += [i % 4 != 0 or name == "test" for i in range(len(split))]
        for key in ("label", *MODALITIES):
            arrays[key] += [*split.arrays[key]]
    np.savez(tmp_path / "clips.npz", **arrays)
    pairs = [
        ("data.path", str(tmp_path / "clips.npz")),
        ("data.split", "0.5,0.25,0.25"),
    ]
    pairs += [("data.modalities", "('text','audio')")]
    run = of(tmp_path, *pairs)
    measured = corpora.read_corpus(run.options, tmp_path).splits["test"]
    found = correlation_auc.clips(run, run.options.data.path)
    assert found.ids.tolist() == measured.ids.tolist() and len(found) == 10
    without = {
        i
        for i, known in zip(arrays["id"], arrays["labelled"], strict=True)
        if not known
    }
    assert not any(i.startswith("valid") or i in without for i in found.ids.tolist())
    assert correlation_auc.present(found) == ["text", "audio"]


def test_the_clips_of_a_weak_corpus_fit(tmp_path):
    run = of(tmp_path, ("data.weak", "0.5"))
    found = correlation_auc.clips(run, None)
    weak = corpora.read_corpus(run.options, tmp_path).splits["test"]
    assert found.ids.tolist() == weak.ids.tolist()
    fitting = demo.generate(run.options.data.seed).splits["test"].arrays["audio"]
    np.testing.assert_array_equal(found.arrays["audio"], fitting)
    assert (found.arrays["audio"] != weak.arrays["audio"]).any()


def test_what_cannot_be_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(correlation_auc, "coefficients", lambda *args: {"": {}})
    split = demo.generate(7, num=(4, 4, 30)).splits["test"]
    with pytest.raises(ValueError, match="has no coefficients"):
        correlation_auc.measure(of(tmp_path), split)
    with pytest.raises(ValueError, match="is a run on mosi; name its file by --data"):
        correlation_auc.clips(of(tmp_path, name="cormult:mosi"), None)
    np.savez(tmp_path / "x.npz", id=["a"], split=["train"], audio=np.ones((1, 2, 3)))
    with pytest.raises(ValueError, match='has no split "test", only train'):
        correlation_auc.clips(of(tmp_path), str(tmp_path / "x.npz"))
    assert correlation_auc.main(["--workdir", str(tmp_path / "no")]) == 1
    assert "holds no run (no config.json)" in capsys.readouterr().err


def test_a_foreign_modality_is_that_of_another_clip():
    split = demo.generate(7, num=(4, 4, 30)).splits["test"]
    for key in [key for key in split.arrays if "vision" in key]:
        del split.arrays[key]
    split.arrays["text_ids"] = np.arange(60).reshape(30, 2)
    assert correlation_auc.present(split) == ["text", "audio"]
    found = correlation_auc.mixed(split, "text")
    assert found.ids.tolist() == split.ids.tolist()
    for key in ("audio", "audio_mask", "label"):
        np.testing.assert_array_equal(found.arrays[key], split.arrays[key])
    others = found.arrays["text_ids"][:, 0] // 2
    assert sorted(others) == list(range(30))
    assert all(other != i for i, other in enumerate(others))
    np.testing.assert_array_equal(found.raw_text, split.raw_text[others])
    for key in ("text", "text_mask"):
        np.testing.assert_array_equal(found.arrays[key], split.arrays[key][others])
    del split.arrays["text"]
    assert "text" in correlation_auc.present(split)  # word pieces
    audio = correlation_auc.mixed(split, "audio")
    np.testing.assert_array_equal(audio.raw_text, split.raw_text)
    np.testing.assert_array_equal(
        audio.arrays["audio_mask"], split.arrays["audio_mask"][others]
    )
