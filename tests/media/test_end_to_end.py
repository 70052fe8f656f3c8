"""Raw media to a score: the commands of the first page, with small sizes."""

import csv

import numpy as np
import pytest

import msajax
from msajax import main
from msajax.serve import scoring
from tools import extract_features, make_demo_clips


@pytest.mark.slow  # it trains CorMulT
def test_clips_to_scores_of_other_clips(tmp_path, quick_random, capsys):
    seen, unseen = tmp_path / "seen", tmp_path / "unseen"
    make_demo_clips.make(seen, num=[48, 8, 8])
    make_demo_clips.make(unseen, num=[1, 1, 6], seed=1)
    data = seen / "features.npz"
    given = ["--labels", seen / "label.csv", "--media", seen / "Raw", "--out", data]
    given += ["--vision", "grey:size=8,rate=5", "--standardize", "--workers", 0]
    kind = "mel:bands=8,rate=16000,hop=3200"
    assert extract_features.main([*map(str, given), "--audio", kind]) == 0
    run = ["--workdir", str(tmp_path / "run")]
    sizes = dict(dim=4, layers=1, mce_dim=4, mce_heads=1, mce_layers=1, mce_hidden=4)
    changes = {f"model.{key}": value for key, value in sizes.items()}
    changes |= {"data.path": data, "data.dataset": "mosi", "text.vocabulary": True}
    changes |= {"train.seeds": 1, "epochs_scale": 0.01, "parallel.devices": 1}
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    options += ["--config.text.max_length=16"]
    assert main.main(["--config", "cormult:demo", *run, *options]) == 0
    labels = str(unseen / "label.csv")
    assert main.main(["--mode", "predict", *run, "--media", labels]) == 0
    with (tmp_path / "run" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    scores = np.array([float(row["score"]) for row in rows])
    assert np.isfinite(scores).all() and np.ptp(scores) > 0
    assert {"cor_text_audio", "without_audio", "seconds_vision"} <= rows[0].keys()
    clip = unseen / "Raw" / "test_0" / "1.mp4"
    said = ["--transcript", "the whole cast was nice"]
    assert main.main(["--mode", "predict", *run, "--media", str(clip), *said]) == 0
    assert "cor_audio_vision" in capsys.readouterr().out
    # What the page shows is the same score.
    clips = msajax.open_run(tmp_path / "run").clips
    transcript = tmp_path / "transcript.txt"
    transcript.write_text(said[1])
    made = scoring.Scorer(clips, longest=60)(clip, transcript, lambda: None)
    (own,) = clips.score([clips.read(clip, said[1])])
    assert made["score"] == own.score == made["curve"][-1][1]
    assert made["frames"]["count"] == len(own.vision) and made["sound"]
