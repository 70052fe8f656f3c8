"""A clip to what the page shows."""

import base64
import dataclasses
import io
import json
import wave

import numpy as np
import pytest

pytest.importorskip("av", reason="the extra `media` is not installed")

from msajax.data.errors import DataError
from msajax.media import settings
from msajax.serve import pictures, scoring


def score(predictor, path, said=None, **keys):
    scorer = scoring.Scorer(predictor, longest=keys.pop("longest", 60.0), **keys)
    return scorer(path, said, lambda: None)


def decoded(address):
    """The pixels of a data: address, by another library."""
    from PIL import Image

    head, code = address.split(",")
    assert head == "data:image/png;base64"
    return np.array(Image.open(io.BytesIO(base64.b64decode(code))))


def test_the_report_of_a_clip(predictor, clip, tmp_path):
    said = tmp_path / "transcript.txt"
    said.write_text("/etc/passwd.txt 很好", "utf-8")
    made = score(predictor, clip, said)
    json.dumps(made, allow_nan=False)
    assert made["transcript"] == "/etc/passwd.txt 很好"
    assert made["seeds"] == {1: made["score"], 2: None}
    assert made["contributions"]["audio"] == pytest.approx(made["score"] + 0.25)
    # The curve ends at the clip's own score, and here grows with the sound.
    times, scores = zip(*made["curve"], strict=True)
    assert len(times) == 12 and list(scores) == sorted(scores)
    assert scores[-1] == made["score"] and scores[0] < scores[-1] / 6
    assert times[-1] == pytest.approx(made["score"], abs=0.3)
    assert made["notes"] == ("a note",) and made["figures"] == {"cor_a": 0.5}
    assert {"audio", "vision", "score", "curve"} <= made["seconds"].keys()


def test_frames_and_spectrogram_are_those_that_were_read(predictor, clip):
    made = score(predictor, clip)
    frames, sound = made["frames"], made["sound"]
    features = predictor.read(clip).features
    assert frames["count"] == len(features.vision) and len(frames["pictures"]) == 8
    for seconds, address in frames["pictures"]:
        own = features.vision[round(seconds * 5)].reshape(8, 8)
        np.testing.assert_allclose(decoded(address), own * 255, atol=0.01)
    assert decoded(sound["picture"]).shape == (8, len(features.audio), 3)
    assert sound["what"].startswith("mel (rate=8000")
    assert sound["seconds"] == pytest.approx(len(features.audio) / 10)


def test_sound_without_pictures(predictor, tmp_path):
    path = tmp_path / "clip"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.zeros(8000, "<i2").tobytes())
    made = score(predictor, path)
    assert made["frames"] is None and len(made["curve"]) == 12


@pytest.mark.parametrize(
    "content", [b"plain text", b"\0" * 5000, b"#EXTM3U\n/etc/passwd"]
)
def test_a_file_that_is_no_video_is_refused(predictor, tmp_path, content):
    path = tmp_path / "clip"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no media file"):
        score(predictor, path)
    # Also by a system that reads text alone, which needs no clip.
    predictor.settings = settings.MediaFeatures()
    with pytest.raises(DataError, match="no media file"):
        score(predictor, path)


def test_a_long_clip_is_refused(predictor, clip):
    with pytest.raises(DataError, match="more than 0.5 s of sound"):
        score(predictor, clip, longest=0.5)


def test_a_clip_of_which_only_words_are_read_has_no_curve(predictor, clip):
    predictor.settings = settings.MediaFeatures()
    made = score(predictor, clip)
    assert made["curve"] == [] and made["sound"] is None and made["frames"] is None


def test_the_curve_of_a_classification_is_that_of_the_clips_class(predictor, clip):
    def classes(sample, own=predictor.prediction):
        share = min(own(sample).score / 10, 1)
        label = "angry" if len(sample.features.audio) > 15 else "sad"
        shares = {"angry": share, "sad": 1 - share}
        found = dataclasses.replace(own(sample), probabilities=shares)
        return dataclasses.replace(found, label=label, score=shares[label])

    predictor.prediction = classes
    made = score(predictor, clip)
    values = [value for _, value in made["curve"]]
    assert values == sorted(values) and values[-1] == made["probabilities"]["angry"]


def test_a_visitor_who_left_is_not_computed_for(predictor, clip):
    class Left(Exception):
        pass

    predictor.score = lambda samples: pytest.fail("scored")
    own, seen = predictor.read, []
    predictor.read = lambda *a, **k: seen.append(1) or own(*a, **k)
    with pytest.raises(Left):
        scoring.Scorer(predictor, longest=60)(clip, None, check_after(1, Left))
    assert seen == [1]


def check_after(calls, error):
    """A check that raises after so many calls."""
    left = [None] * calls

    def check():
        if not left:
            raise error
        left.pop()

    return check


@pytest.mark.parametrize(
    "changes,weights,message",
    [
        ({"vision": settings.vision("openface")}, None, "cannot make"),
        ({"per_word": True}, None, r"times of words\), which the page"),
        ({"vision": settings.vision("resnet50")}, None, "--weights is needed"),
        ({}, "resnet.pth", "--weights is of no use: the vision features are grey"),
    ],
)
def test_features_that_the_page_cannot_make(predictor, changes, weights, message):
    predictor.settings = dataclasses.replace(predictor.settings, **changes)
    with pytest.raises(ValueError, match=message):
        scoring.Scorer(predictor, weights=weights, longest=60)


def test_pictures_of_features():
    values = np.linspace(0, 1, 6, dtype=np.float32).reshape(
        3, 2
    )  # the second is higher
    made = pictures.heat_map(values, own_scales=False)
    assert made.shape == (2, 3, 3)
    assert tuple(made[1, 0]) == (68, 1, 84) and tuple(made[0, 2]) == (253, 231, 37)
    own = pictures.heat_map(values * [1, 1000], own_scales=True)
    np.testing.assert_allclose(own[0], own[1], atol=1)
    large = np.random.default_rng(0).random((5000, 300))
    assert pictures.heat_map(large, own_scales=False).shape == (128, 480, 3)
    means = pictures._averaged(large, 480, 0)
    assert means.mean() == pytest.approx(large.mean(), abs=1e-3)
    np.testing.assert_allclose(means[0], large[:10].mean(axis=0))


def test_the_picture_of_a_wave():
    samples = np.concatenate([np.zeros(500), np.sin(np.arange(500))])
    made = pictures.wave(samples)
    black = (made == 0).sum(axis=0)
    assert (
        made.shape == (64, 480) and black[:200].max() <= 2 and black[300:].mean() > 20
    )
    assert pictures.data_url(made).startswith("data:image/png")
