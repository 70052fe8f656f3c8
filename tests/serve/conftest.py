"""A predictor that is no network, for the tests of the page."""

import numpy as np
import pytest

from msajax.media import audio, clips, settings, transcript
from msajax.report.results import ClipPrediction


class Predictor:
    """Reads clips like that of a run; its score is the seconds of sound that it gets."""

    def __init__(self, vision="grey:size=8,rate=5"):
        self.settings = settings.MediaFeatures(
            settings.audio("mel:bands=8,rate=8000,hop=800"),
            settings.vision(vision) if vision else None,
        )

    @property
    def audio_seconds(self):
        return self.settings.audio.seconds

    def load(self, **networks):
        self.loaded = networks

    def read(self, path, said=None, *, name="", longest=audio.LONGEST, **networks):
        from msajax.run.clip_reader import Sample

        assert networks in ({}, self.loaded)
        text = transcript.read(said) if said is not None else ""
        if self.settings.vision is None:
            return Sample(name, clips.Clip(*[np.zeros((0, 0), np.float32)] * 2), text)
        waves = settings.MediaFeatures(
            settings.audio("wave:rate=8000"), self.settings.vision
        )
        found = clips.extract(path, waves, longest=longest)
        # Eight numbers for each tenth of a second stand for mel bands: no librosa.
        steps = len(found.audio) // 800
        bands = np.abs(found.audio[: steps * 800]).reshape(steps, 8, 100).mean(axis=2)
        found = found._replace(audio=bands)
        return Sample(name, found, text)

    def score(self, samples):
        return [self.prediction(sample) for sample in samples]

    def prediction(self, sample):
        score = len(sample.features.audio) / 10
        return ClipPrediction(
            id=sample.id,
            score=score,
            scale=(-3.0, 3.0),
            label="positive",
            seeds={1: score, 2: float("nan")},
            probabilities={},
            without={"text": 0.5, "audio": -0.25},
            figures={"cor_a": 0.5},
            seconds={**sample.features.seconds, "score": 0.1},
            transcript=sample.text,
            notes=("a note",),
            audio=sample.features.audio,
            vision=sample.features.vision,
        )


@pytest.fixture
def predictor():
    return Predictor()


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A clip of a drawn face, with sound."""
    from tools import make_demo_clips

    folder = tmp_path_factory.mktemp("clips")
    make_demo_clips.make(folder, num=[1, 1, 1])
    return sorted(folder.glob("Raw/*/*.mp4"))[0]
