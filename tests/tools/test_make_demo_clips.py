import csv

import numpy as np

from msajax.media import audio, settings, video
from tools import make_demo_clips

WORDS = ["this", "movie", "is", "good"]


def sound(level):
    rngs = (np.random.default_rng(i) for i in (1, 2))
    return make_demo_clips.voice(*rngs, WORDS, 3, level=level)


def test_the_voice_shows_the_level():
    tracks = {}
    for level in (-3, 0, 3):
        wave = sound(level)
        assert np.abs(wave).max() < 1
        features = audio.extract(wave, settings.audio("prosody:rate=16000,window=1024"))
        pitch, energy, _ = features[features[:, 0] > 0].T
        tracks[level] = pitch[-8:].mean() / pitch[:8].mean(), energy.max()
    assert tracks[-3][0] < tracks[0][0] < tracks[3][0]
    assert tracks[-3][1] < tracks[0][1] < tracks[3][1]


def test_the_face_shows_the_level():
    found = {}
    for level in (-3, 3):
        rngs = (np.random.default_rng(i) for i in (1, 2))
        pictures = make_demo_clips.pictures(*rngs, 2.0, level=level)
        assert pictures.shape == (20, 96, 96, 3)
        red = (pictures == (150, 30, 40)).all(-1)
        rows = [np.flatnonzero(r.any(1)).mean() for r in red]
        middle = [np.flatnonzero(r[:, 48]).mean() for r in red]
        found[level] = max(np.subtract(middle, rows), key=abs)
    assert found[-3] < -1 and found[3] > 1  # the middle of the mouth is up in a frown


def test_clips_and_labels(tmp_path, capsys):
    assert make_demo_clips.main(["--out", str(tmp_path), "--clips", "1,1,1"]) == 0
    with (tmp_path / "label.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mode"] for row in rows] == ["train", "valid", "test"]
    for row in rows:
        path = tmp_path / "Raw" / row["video_id"] / f"{row['clip_id']}.mp4"
        seconds = len(audio.read(path, rate=16_000)) / 16_000
        assert len(row["text"].split()) * 0.16 < seconds < 4
        assert len(list(video.pictures(path, rate=10, size=16))) > 5
    assert make_demo_clips.main(["--out", str(tmp_path), "--clips", "1,1"]) == 1
    assert "give three numbers" in capsys.readouterr().err
