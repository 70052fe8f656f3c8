"""Classifications end to end: MELD's csv files and a file of features, confusion matrices, class weights."""

import csv
import json

import numpy as np
import pytest

from msajax import main
from msajax.data.spec import DATASETS
from tests import small_encoders

pytestmark = pytest.mark.usefixtures("tokenizer_in_process")

EMOTIONS, SIX = DATASETS["meld"].classes, DATASETS["iemocap"].classes
WORDS = "okay wow help sorry great yuck never".split()  # one for each emotion
SHORT = (
    *("--config.train.epochs=2", "--config.train.batch_size=8"),
    *("--config.train.patience=0", "--config.parallel.devices=1"),
)


@pytest.fixture(scope="module", autouse=True)
def root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSAJAX_DATA", str(tmp_path_factory.mktemp("root")))
        yield


def run(workdir, *args, config=None):
    first = ("--config", str(config), *SHORT) if config else ()
    return main.main([*first, "--workdir", str(workdir), *map(str, args)])


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def counts(path, classes, seed):
    """The confusion matrix of a file of predictions."""
    found = np.zeros((len(classes), len(classes)), int)
    for row in rows(path):
        if row["seed"] == str(seed):
            found[classes.index(row["label"]), classes.index(row["prediction"])] += 1
    return found.tolist()


def write_meld(folder):
    """MELD's three files: an emotion's word, twice or among others."""
    rng = np.random.default_rng(0)
    names = {"train_sent_emo": 21, "dev_sent_emo": 14, "test_sent_emo": 14}
    for stem, count in names.items():
        with open(folder / f"{stem}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"]
            )
            for i in range(count):
                text = " ".join([WORDS[i % 7], *rng.choice(WORDS, i % 3)])
                writer.writerow([text, "Joey", EMOTIONS[i % 7], i // 7, i % 7])


@pytest.fixture(scope="module")
def meld(tmp_path_factory):
    """A folder with MELD's files and an encoder for them, and a run of two seeds."""
    folder = tmp_path_factory.mktemp("meld")
    write_meld(folder)
    small_encoders.bert(folder / "bert", [" ".join(WORDS)])
    options = (
        f"--config.text.encoder={folder / 'bert'}",
        *(f"--config.data.path={folder}", "--config.text.max_length=8"),
        *("--config.data.buckets=2", "--config.train.seeds=1,2"),
    )
    assert run(folder / "run", *options, config="text_only:meld") == 0
    return folder


def test_results_hold_the_confusion_matrices(meld):
    result = json.loads((meld / "run" / "results.json").read_text())
    assert result["classes"] == list(EMOTIONS)
    for split in ("valid", "test"):
        path = meld / "run" / f"predictions_{split}.csv"
        for seed, found in zip((1, 2), result["confusion"][split], strict=True):
            assert found == counts(path, EMOTIONS, seed)
            assert np.sum(found, axis=1).tolist() == [2] * 7
        hits = [np.trace(found) / 14 for found in result["confusion"][split]]
        assert result[split]["accuracy"]["values"] == pytest.approx(hits)
    f1 = result["test"]["weighted_f1"]["mean"]
    of_classes = [result["test"][f"f1_{name}"]["mean"] for name in EMOTIONS]
    assert f1 == pytest.approx(np.mean(of_classes))  # each class has two rows


def test_evaluate_prints_the_matrix(meld, capsys):
    capsys.readouterr()
    args = ("--mode", "evaluate", "--split", "valid")
    assert run(meld / "run", *args) == 0
    shown = capsys.readouterr().out.splitlines()
    start = shown.index("confusion, valid")
    result = json.loads((meld / "run" / "results.json").read_text())
    shares = np.mean(result["confusion"]["valid"], axis=0) / 2 * 100
    for i, name in enumerate(EMOTIONS):
        (line,) = [x.split() for x in shown[start:] if x.strip().startswith(f"{name} ")]
        assert line == [name, *(f"{share:.1f}" for share in shares[i]), "2"]
    assert max(map(len, shown[start:])) <= 80


def test_predict_names_classes(meld, tmp_path):
    lines = ["Utterance,Speaker,Dialogue_ID,Utterance_ID", "wow,Joey,0,0", "yuck,A,0,1"]
    (tmp_path / "new.csv").write_text("\n".join(lines), "utf-8")
    scores = tmp_path / "scores.csv"
    args = ("--mode", "predict", "--data", tmp_path / "new.csv", "--output", scores)
    assert run(meld / "run", *args) == 0
    found = rows(scores)
    assert [row["id"] for row in found] == ["all_dia0_utt0", "all_dia0_utt1"]
    assert {row["score"] for row in found} <= set(EMOTIONS)


def write_features(path):
    """A file of three modalities, whose audio tells the class."""
    rng = np.random.default_rng(0)
    sizes = {"train": 48, "valid": 12, "test": 12}
    total = sum(sizes.values())
    label = np.arange(total) % 6
    audio = rng.normal(size=(total, 4, 6)) * 0.1 + 2 * np.eye(6)[label][:, None]
    np.savez(
        path,
        id=np.arange(total).astype(str),
        split=np.repeat(list(sizes), list(sizes.values())),
        label=label,
        text=rng.normal(size=(total, 5, 3)),
        audio=audio,
        vision=rng.normal(size=(total, 3, 2)),
    )


TINY = "dim=16 tokens=2 heads=2 hidden=8 layers=1 beta=0.001 dropout=0.0".split()


@pytest.mark.slow
def test_alr_learns_emotions_from_a_file_of_features(tmp_path):
    path = tmp_path / "iemocap.npz"
    write_features(path)
    options = (
        *(f"--config.model.{pair}" for pair in TINY),
        *(f"--config.data.path={path}", "--config.text.encoder="),
        *("--config.optimizer.learning_rate=0.01", "--config.train.seeds=1"),
        *("--config.train.epochs=12", "--config.data.buckets=1"),
        "--config.model.class_weights=1,1,1,1,1,2",
        '--config.optimizer.groups=((".*",{}),)',
    )
    folder = tmp_path / "run"
    assert run(folder, *options, config="alr:iemocap") == 0
    result = json.loads((folder / "results.json").read_text())
    assert result["checkpoint"] == "best epoch by validation weighted_f1"
    assert result["test"]["accuracy"]["mean"] > 0.8
    (found,) = result["confusion"]["test"]
    assert found == counts(folder / "predictions_test.csv", SIX, 1)


def test_weights_for_other_classes_are_refused(meld, tmp_path, capsys):
    options = (f"--config.data.path={meld}", "--config.text.max_length=8")
    options += (f"--config.text.encoder={meld / 'bert'}",)
    weights = "--config.model.class_weights=1,2"
    assert run(tmp_path / "w", *options, weights, config="text_only:meld") == 1
    assert "for each of the 7 classes of the data: neutral" in capsys.readouterr().err
    assert not (tmp_path / "w" / "config.json").exists()
