import dataclasses
import itertools

import numpy as np
import pytest

from msajax import config as configs
from msajax import settings
from msajax.data import demo
from msajax.data.spec import MODALITIES
from tools import correlation_auc


def test_the_area_by_hand():
    matched, foreign = np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])
    assert correlation_auc.auc(matched, foreign) == pytest.approx(4.5 / 6)
    assert correlation_auc.auc(foreign, foreign) == 0.5


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run, whose coefficients are how well the first features of two modalities fit."""

    def coefficients(folder, seed, file):
        arrays = np.load(file)
        first = {m: arrays[m][:, 0, 0] * arrays[f"{m}_length"] for m in MODALITIES}
        pairs = itertools.combinations(MODALITIES, 2)
        return {(a, b): -np.abs(first[a] - first[b]) for a, b in pairs}

    monkeypatch.setattr(correlation_auc, "coefficients", coefficients)
    config = configs.load("configs/demo.py:cormult", [("train.seeds", "1,2")])
    (tmp_path / "config.json").write_text(configs.to_json(config))
    return tmp_path


def test_pairs_whose_modality_is_foreign(folder, capsys):
    clips = demo.generate(7, num=(4, 4, 30)).splits["test"].arrays
    split = np.repeat(["train", "test"], [4, 30])
    arrays = {}
    for m in MODALITIES:
        values = np.zeros((30, 5, clips[m].shape[-1]))
        values[:, 0] = np.arange(1, 31)[:, None]
        arrays[m] = np.concatenate([values[:4], values])
        arrays[f"{m}_length"] = np.full(34, 5)
    np.savez(folder / "clips.npz", id=np.arange(34), split=split, **arrays)
    file = ["--data", str(folder / "clips.npz")]
    assert correlation_auc.main(["--workdir", str(folder), *file]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.endswith("1.000 ± 0.000") for line in lines)
    assert lines[0].startswith("text and audio, foreign text ")
    assert correlation_auc.main(["--workdir", str(folder)]) == 0  # the demo corpus


def test_rows_of_the_training_are_not_measured(tmp_path):
    config = configs.load("configs/demo.py:cormult/paper")
    (tmp_path / "config.json").write_text(configs.to_json(config))
    corpus = settings.read_corpus(config, tmp_path)
    found = set(correlation_auc.clips(tmp_path, None).ids.tolist())
    assert found == set(corpus.splits["test"].ids.tolist())
    assert any(i.startswith("train") for i in found)


def test_clips_are_those_that_the_run_measures(tmp_path, monkeypatch):
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
    config = configs.load("configs/demo.py:cormult", pairs)
    (tmp_path / "config.json").write_text(configs.to_json(config))
    measured = settings.read_corpus(config, tmp_path).splits["test"]
    found = correlation_auc.clips(tmp_path, config.data.path)
    assert found.ids.tolist() == measured.ids.tolist() and len(found) == 10
    without = {
        i
        for i, known in zip(arrays["id"], arrays["labelled"], strict=True)
        if not known
    }
    assert not any(i.startswith("valid") or i in without for i in found.ids.tolist())
    assert correlation_auc.present(found) == ["text", "audio"]


def test_the_clips_of_a_weak_corpus_fit(tmp_path):
    config = configs.load("configs/demo.py:cormult", [("data.weak", "0.5")])
    (tmp_path / "config.json").write_text(configs.to_json(config))
    found = correlation_auc.clips(tmp_path, None)
    weak = settings.read_corpus(config, tmp_path).splits["test"]
    assert found.ids.tolist() == weak.ids.tolist()
    fitting = demo.generate(config.data.seed).splits["test"].arrays["audio"]
    np.testing.assert_array_equal(found.arrays["audio"], fitting)
    assert (found.arrays["audio"] != weak.arrays["audio"]).any()


def test_what_cannot_be_measured(folder, capsys, monkeypatch):
    monkeypatch.setattr(correlation_auc, "coefficients", lambda *args: {})
    assert correlation_auc.main(["--workdir", str(folder)]) == 1
    assert "has no coefficients" in capsys.readouterr().err
    config = configs.load("configs/cormult_mosi.py")
    (folder / "config.json").write_text(configs.to_json(config))
    assert correlation_auc.main(["--workdir", str(folder)]) == 1
    assert "is a run on mosi; name its file by --data" in capsys.readouterr().err
    assert correlation_auc.main(["--workdir", str(folder / "no")]) == 1


def test_a_foreign_modality_is_that_of_another_clip(tmp_path):
    split = demo.generate(7, num=(4, 4, 30)).splits["test"]
    arrays = {k: v for k, v in split.arrays.items() if "vision" not in k}
    split = dataclasses.replace(split, arrays=arrays)
    assert correlation_auc.present(split) == ["text", "audio"]
    correlation_auc.write(tmp_path / "clips.npz", split, "text")
    found = np.load(tmp_path / "clips.npz")
    assert "vision" not in found
    np.testing.assert_array_equal(found["audio"], split.arrays["audio"])
    texts = [row.tobytes() for row in split.arrays["text"]]
    others = [texts.index(row.tobytes()) for row in found["text"]]
    assert sorted(others) == list(range(30))
    assert all(other != i for i, other in enumerate(others))
    np.testing.assert_array_equal(found["raw_text"], split.raw_text[others])
    steps = np.sum(split.arrays["text_mask"], axis=1)
    np.testing.assert_array_equal(found["text_length"], steps[others])
