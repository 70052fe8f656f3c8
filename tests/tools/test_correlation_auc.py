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
