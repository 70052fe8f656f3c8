"""Folds of actors, on recordings that the test writes; no network is trained."""

import types

import numpy as np
import pytest
import soundfile

import msajax
from tools import ravdess

RATE = 8000
rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three actors, two recordings of each of four emotions, between silence."""
    place = tmp_path_factory.mktemp("ravdess")
    lines = ["file,emotion,actor"]
    for actor in (1, 2, 3):
        for i, emotion in enumerate(ravdess.CLASSES[:4] * 2):
            tone = np.sin((0.1 + 0.2 * (i % 4)) * np.arange(RATE)) / (1 + i % 4)
            quiet = 1e-5 * rng.normal(size=RATE // 2)
            name = f"{actor}-{i}.wav"
            soundfile.write(place / name, np.concatenate([quiet, tone, quiet]), RATE)
            lines.append(f"{name},{emotion},{actor}")
    (place / "labels.csv").write_text("\n".join(lines))
    return place


KIND = "mfcc:rate=8000,window=256,hop=400,coefficients=4"


def test_silence_at_the_ends_is_left_out(folder):
    found = ravdess.read(folder, KIND, trim=30)
    steps, frame = RATE // 400, 2048 // 400  # librosa looks at 2048 samples at once
    assert ((steps <= found.length) & (found.length < steps + 2 * frame + 2)).all()
    assert (ravdess.read(folder, KIND, trim=0).length == 2 * steps + 1).all()


def test_a_fold_is_standardized_by_its_training_actors(folder):
    speech = ravdess.read(folder, KIND, trim=30)
    corpus = ravdess.fold(speech, "2", "3")
    rows = {name: split.ids.tolist() for name, split in corpus.splits.items()}
    assert rows == {
        "train": [f"clip {i}" for i in range(8)],
        "valid": [f"clip {i}" for i in range(16, 24)],
        "test": [f"clip {i}" for i in range(8, 16)],
    }
    train = corpus.splits["train"].arrays
    real = train["audio"][train["audio_mask"]]
    np.testing.assert_allclose(real.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(real.std(axis=0), 1, atol=1e-5)
    assert not train["audio"][~train["audio_mask"]].any()
    test = corpus.splits["test"]
    right = ravdess.regression(corpus).argmax(axis=1) == test.arrays["label"]
    assert right.mean() > 0.9  # the tones differ


def test_every_actor_is_tested_once(folder, monkeypatch, capsys):
    """The network says the right class with seed 1, and class 0 with seed 2."""
    tested = []

    def fit(model, corpus, *, seeds, epochs, options, quiet):
        test = corpus.splits["test"]
        tested.append(test.ids.tolist())
        right = np.eye(8, dtype=np.float32)[test.arrays["label"]]
        first = np.eye(8, dtype=np.float32)[np.zeros(len(test), int)]
        found = dict(zip(seeds, (right, first), strict=True))
        return types.SimpleNamespace(outputs=lambda split, name: found)

    monkeypatch.setattr(msajax, "fit", fit)
    monkeypatch.setattr(msajax, "create_model", lambda *_, **__: None)
    assert ravdess.main([str(folder), "--audio", KIND, "--seeds", "1,2"]) == 0
    assert sorted(sum(tested, [])) == sorted(f"clip {i}" for i in range(24))
    last = capsys.readouterr().out.split("over all 3 folds")[1]
    assert "accuracy 62.5 ± 37.5" in last  # 100 and 25 %
    assert "the most frequent emotion        accuracy 25.0" in last
    assert "guesses by frequency             accuracy 25.0" in last


@pytest.mark.parametrize(
    "options,message",
    [
        (["--seeds", "one"], "--seeds is one; give numbers: 1,2,3"),
        (["--audio", "mell"], 'did you mean "mel"'),
        (["--epochs", "0"], "--epochs is 0; give"),
        (["--trim", "-1"], "--trim is -1; give"),
    ],
)
def test_wrong_options(folder, options, message, capsys):
    assert ravdess.main([str(folder), *options]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "rows,message",
    [
        (None, "labels.csv; check the path"),
        ("a.wav,bored,1", 'row 2 of labels.csv: the emotion "bored" is none of'),
        ("a.wav,happy,1", "there is no file"),
        ("", "has no rows"),
    ],
)
def test_wrong_labels(tmp_path, rows, message, capsys):
    if rows is not None:
        (tmp_path / "labels.csv").write_text(f"file,emotion,actor\n{rows}\n")
    assert ravdess.main([str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_a_fold_needs_three_actors(folder, tmp_path, capsys):
    lines = (folder / "labels.csv").read_text().splitlines()[:17]
    lines = [lines[0], *(f"{folder}/{line}" for line in lines[1:])]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    assert ravdess.main([str(tmp_path), "--audio", KIND]) == 1
    assert "2 actors; a fold needs three" in capsys.readouterr().err
