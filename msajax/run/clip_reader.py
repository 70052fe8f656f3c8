"""A clip as the data of a run was read: the features of its training, and what is said."""

import dataclasses
import functools
import os
import pathlib
import time
from typing import TYPE_CHECKING, NamedTuple

from msajax.data.spec import MODALITIES
from msajax.media import (
    audio,
    clips,
    files,
    openface,
    settings,
    speech,
    transcript,
    words,
)
from msajax.run import features, voice

if TYPE_CHECKING:
    from msajax.media.network import PictureNetwork
    from msajax.run.run import Run

Path = str | os.PathLike[str]
SENSES = ("audio", "vision")


class Sample(NamedTuple):
    """What is read of a clip.

    Attributes:
      id: of the clip.
      features: of its audio and vision.
      text: its transcript; '' where there is none.
      notes: beside those of the features.
      seconds: that the transcript took.
    """

    id: str
    features: clips.Clip
    text: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Reader:
    """Reads clips as the data of a run was read.

    Args:
      run: trained.

    Attributes:
      settings: of the features.

    Raises:
      ValueError: the run says not how its features were made, or reads what no clip has.
    """

    def __init__(self, run: "Run"):
        self._run, self._reads = run, run.spec.modalities
        self.settings = features.of_run(run)
        self._network = functools.cache(self._make_network)
        self._recognizer = functools.cache(speech.Recognizer)
        self._listener = functools.cache(
            functools.partial(voice.frozen_encoder, run.options, run.folder)
        )

    def load(
        self, *, weights: Path | None = None, speech_model: Path | None = None
    ) -> None:
        """Loads the networks that clips are read by; without it the first clip loads them.

        Args:
          weights, speech_model: as in `read`.

        Raises:
          ValueError: they are of another network, or of none that the run needs.
        """
        kind = self.settings.vision.kind if self.settings.vision else "none"
        _need("weights", weights, kind == "resnet50", f"the vision features {kind}")
        if weights:
            self._network(pathlib.Path(weights))
        if self._run.options.audio.frozen:
            self._listener().load()
        if speech_model and "text" not in self._reads:
            raise ValueError("the run reads no text; leave speech_model out")
        if speech_model:
            self._recognizer(pathlib.Path(speech_model))

    def read(
        self,
        path: Path,
        said: Path | None = None,
        *,
        weights: Path | None = None,
        vision_file: Path | None = None,
        word_times: Path | None = None,
        speech_model: Path | None = None,
        name: str = "",
        longest: float = audio.LONGEST,
    ) -> Sample:
        """The features and the words of a clip.

        Args:
          path: video or audio file.
          said: the transcript, or a .txt, .srt or .vtt file; None where it is not known.
          weights: of the network of pictures, for such features.
          vision_file: OpenFace's rows or your own features, for such features.
          word_times: a csv of words and their times, for features per word.
          speech_model: folder of a model that writes down what is said
            (`media.speech.Recognizer`), where `said` is None.
          name: of the clip; its path, where it is not given.
          longest: seconds that the clip may take.

        Raises:
          ValueError: the clip cannot be read, lacks what the features need, or has
            nothing that the run reads.
        """
        path, vision = files.check(path), self.settings.vision
        kind = vision.kind if vision else "none"
        self.load(weights=weights, speech_model=speech_model)
        known = kind in openface.SUFFIXES
        _need("vision_file", vision_file, known, f"the vision features {kind}")
        per_word = self.settings.per_word
        _need("word_times", word_times, per_word, "the features of this run")
        start = time.perf_counter()
        spoken, notes = self._transcript(path, said, speech_model, longest)
        seconds = time.perf_counter() - start
        found = clips.extract(
            *(path, self.settings),
            network=self._network(pathlib.Path(weights)) if weights else None,
            vision_file=vision_file,
            word_times=words.read(word_times) if word_times else (),
            longest=longest,
        )
        found, cut = self._fitted(found, path)
        sample = Sample(name or str(path), found, spoken, (*notes, *cut), seconds)
        if not self.present(sample):
            raise ValueError(
                f"{path}: there is nothing to score: the run reads "
                f"{', '.join(self._reads)}, and the clip has none of them; give a transcript"
            )
        return sample

    def _transcript(
        self,
        path: pathlib.Path,
        said: Path | None,
        speech_model: Path | None,
        longest: float,
    ) -> tuple[str, list[str]]:
        """What is said, given or recognized, and notes on it."""
        if said is not None:
            unused = "the run reads no text: the transcript is not used"
            return transcript.read(said), [] if "text" in self._reads else [unused]
        if "text" not in self._reads:
            return "", []
        if speech_model is None:
            return "", ["no transcript: the text is missing"]
        try:
            found = self._recognizer(pathlib.Path(speech_model))(path, longest=longest)
        except files.NoTrack:
            found = ""
        why = "the transcript is recognized" if found else "no speech is recognized"
        return found, [why if found else f"{why}: the text is missing"]

    def _fitted(
        self, found: clips.Clip, path: pathlib.Path
    ) -> tuple[clips.Clip, list[str]]:
        """Features of the training's width, cut and standardized as the training data was."""
        notes, spec = [], self._run.spec
        for m in SENSES:
            values, place = getattr(found, m), MODALITIES.index(m)
            if not values.size:
                continue
            width, length = spec.dims[place], spec.lengths[place]
            heard = m == "audio" and self._run.options.audio.frozen
            if values.shape[1] != (1 if heard else width):
                what = settings.describe(getattr(self.settings, m))
                raise ValueError(
                    f"{path}: the {m} has {values.shape[1]} features per step, but the run "
                    f"was trained on {width}: {what}; extract them as those of the training"
                )
            listener = self._listener() if heard else None
            steps, most = len(values), length
            if listener:
                steps, most = listener.steps(steps), listener.samples(length)
            if steps > length:
                notes.append(
                    f"the {m} is cut from {steps} to the {length} steps of the training"
                )
            values = values[:most]
            if m in self.settings.standard:
                values = self.settings.standard[m](values)
            if listener:
                start = time.perf_counter()
                values = listener.alone(values)
                seconds = found.seconds[m] + time.perf_counter() - start
                found = found._replace(seconds={**found.seconds, m: seconds})
            found = found._replace(**{m: values})
        return found, notes

    @property
    def audio_seconds(self) -> float:
        """From one step of the audio to the next; 0 where the run reads none."""
        if self._run.options.audio.frozen:
            return self._listener().seconds
        return self.settings.audio.seconds if self.settings.audio else 0.0

    def present(self, sample: Sample) -> list[str]:
        """The modalities that the run reads and the clip has."""
        has = {"text": bool(sample.text)}
        has |= {m: bool(getattr(sample.features, m).any()) for m in SENSES}
        return [m for m in self._reads if has[m]]

    def _make_network(self, path: pathlib.Path) -> "PictureNetwork":
        from msajax.media.network import PictureNetwork

        network, vision = PictureNetwork(path), self.settings.vision
        assert vision is not None
        given = dataclasses.replace(vision, weights=network.fingerprint)
        settings.check_same(
            self.settings, dataclasses.replace(self.settings, vision=given)
        )
        return network


def _need(name: str, given: object, wanted: bool, what: str) -> None:
    if (given is not None) != wanted:
        needs = "need" if wanted else "do not read"
        end = f"; give its path: {name}=" if wanted else "; leave it out"
        raise ValueError(f"{what} {needs} {name}{end}")
