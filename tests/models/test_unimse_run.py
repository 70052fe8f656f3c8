"""UniMSE from files to files: the text of two data sets, a small random T5, and the count of unread labels."""

import csv
import json
import types

import numpy as np
import pytest
from rich.console import Console

import msajax
from msajax import main, parallel
from msajax.report import table
from msajax.run import corpora, output, recipe
from msajax.run.run import Run
from tools import make_t5

# In the layouts of MOSI-label.csv and of MELD's csv files.
MOSI = (
    ("fun", 2.4, "A LOT OF FUN"),
    ("sad", -1.2, "THERE IS A SAD PART"),
    ("so", 0.0, "SO IT IS A FILM"),
)
MELD = (
    ("joy", "positive", "What fun!"),
    ("sadness", "negative", "How sad is that?"),
    ("neutral", "neutral", "It is a table."),
)
SPLITS = ("train", "valid", "test")


def write(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head.split(","), *rows])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with both data sets and a T5 that has word pieces for them."""
    folder = tmp_path_factory.mktemp("files")
    rows = [
        (f"{video}_{split}", clip, text, score, "", split, 0)
        for split in SPLITS
        for clip, (video, score, text) in enumerate(MOSI)
    ]
    head = "video_id,clip_id,text,label,annotation,mode,label_by"
    write(folder / "mosi.csv", head, rows)
    (folder / "meld").mkdir()
    head = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,"
        "Episode,StartTime,EndTime"
    )
    for split in ("train", "dev", "test"):
        rows = [
            (i, text, "Joey", emotion, polarity, 0, i, 1, 1, "00:00:01,0", "00:00:02,0")
            for i, (emotion, polarity, text) in enumerate(MELD)
        ]
        write(folder / "meld" / f"{split}_sent_emo.csv", head, rows)
    named = [f"mosi={folder / 'mosi.csv'}", f"meld={folder / 'meld'}"]
    size = ["--width", "8", "--layers", "1", "--pieces", "60"]
    assert not make_t5.main([*named, "--out", str(folder / "t5"), *size])
    return folder


@pytest.mark.slow
def test_text_of_two_data_sets_from_files_to_predictions(
    files, tmp_path, capsys, quick_random
):
    args = ["--config", "unimse:mosi/no_context", "--workdir", str(tmp_path / "run")]
    changes = {
        **{"data.path": files / "mosi.csv", "data.also": f"meld={files / 'meld'}"},
        **{"data.variant": "", "data.dims": "()", "data.lengths": "()"},
        **{"data.modalities": "text", "text.encoder": files / "t5"},
        **{"text.max_length": 32, "train.epochs": 1, "train.batch_size": 6},
        **{
            "train.seeds": "1,2",
            "parallel.devices": 1,
            "model.scan": False,
            "optimizer.groups": "()",
        },
    }
    assert not main.main([*args, *(f"--config.{k}={v}" for k, v in changes.items())])
    said = capsys.readouterr().out
    assert "training rows: 3 of mosi, 3 of meld" in said
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    # After one epoch a T5 of random weights writes no label: nothing is taken for 0 in silence.
    assert results["unread"] == {"valid": [3, 3], "test": [3, 3]}
    assert "test: rows whose text is no label" in said and "by seed: 3, 3" in said
    run = msajax.open_run(tmp_path / "run")
    assert run.evaluate("test").facts["unread"] == {"test": [3, 3]}
    made = run.predict(files / "mosi.csv")
    np.testing.assert_array_equal(made.figures["unread"], np.ones(9))
    np.testing.assert_array_equal(made.mean, np.zeros(9))


def test_unread_labels_are_counted_from_the_network_to_the_files(tmp_path):
    """Of a network that has written no label for the rows 1 and 2, of seed 2 also for row 3."""
    calls = []

    class Faked(Run):
        def corpus(self, data=None, *, labels=True):
            return corpus

        def forward(self, splits, *, seeds=(), method="", outputs=()):
            calls.append((*outputs, *splits))
            rows = {}
            for name, source in splits.items():
                number = sum(source.sizes)
                column = np.arange(number)
                own = {seed: (1 <= column) & (column <= seed + 1) for seed in (1, 2)}
                rows[name] = {
                    seed: {"pred": np.where(x, 0, 0.5), "unread": x}
                    for seed, x in own.items()
                }
            return rows

    corpus = msajax.load_data(dataset="demo")
    options = recipe.change(
        recipe.load("lf_dnn:demo"), {"train.seeds": (1, 2), "parallel.devices": 1}
    )
    model = types.SimpleNamespace(unread="unread", reports={}, fixed_length=False)
    spec = corpora.make_spec(options, corpus)
    places = parallel.find_devices(1), Console(quiet=True)
    run = Faked(options, tmp_path, spec, model, *places)
    results = run.evaluate("test")
    assert results.to_dict()["unread"] == {"test": [2, 3]}
    with (console := Console(width=200)).capture() as said:
        console.print(table.render(results.to_dict(), splits=("test",)))
    assert "test: rows whose text is no label" in said.get()
    assert "by seed: 2, 3" in said.get()
    made = run.predict(corpus)
    output.write_scores(tmp_path / "predictions.csv", made)
    with (tmp_path / "predictions.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["unread"] for row in rows[:5]] == ["0", "1", "1", "0.5", "0"]
    assert [row["score"] for row in rows[:5]] == ["0.5", "0", "0", "0.25", "0.5"]
    # Texts are written once for each split.
    assert calls == [("pred", "unread", "test"), ("pred", "unread", *corpus.splits)]


@pytest.mark.parametrize(
    "args,message",
    [
        (["demo", "--out", "."], "exists; give the path of a new folder"),
        (["demo", "--out", "t5", "--width", "6"], "width 6 and 2 layers make no"),
        (["demo", "--out", "t5", "--layers", "0"], "0 layers make no network"),
        (["mood=x", "--out", "t5"], 'unknown dataset "mood"'),
    ],
)
def test_a_t5_that_cannot_be_made_is_refused(args, message, capsys):
    assert make_t5.main(args) == 1
    assert message in capsys.readouterr().err
