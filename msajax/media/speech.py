"""What is said in a clip, by a Whisper model in a local folder: faster-whisper runs it, nothing is downloaded.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023.
"""

import os
import pathlib
from typing import Any

from msajax.data.errors import DataError
from msajax.media import audio, files

RATE = 16_000  # of Whisper
_NEEDED = ("model.bin", "config.json", "tokenizer.json")


class Recognizer:
    """Writes down what is said in clips.

    Args:
      folder: a Whisper model as CTranslate2 has it: model.bin, config.json, tokenizer.json.

    Raises:
      ValueError: there is no such model, or faster-whisper is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        folder = pathlib.Path(folder)
        for name in _NEEDED:  # faster-whisper looks on the hub for what is not there
            if not (folder / name).is_file():
                raise DataError(
                    f"there is no file {folder / name}; expected the folder of a Whisper model "
                    f"in CTranslate2's layout ({', '.join(_NEEDED)}), such as that of "
                    "Systran/faster-whisper-base"
                )
        whisper = files.library("faster_whisper", extra="asr")
        try:
            self._model: Any = whisper.WhisperModel(
                str(folder), device="cpu", compute_type="int8", local_files_only=True
            )
        except Exception as error:  # of CTranslate2 and tokenizers, not listed anywhere
            raise DataError(f"{folder} holds no Whisper model: {error}") from error

    def __call__(
        self, path: str | os.PathLike[str], *, longest: float = audio.LONGEST
    ) -> str:
        """The words of a clip with single spaces between them; '' where nobody speaks.

        The model finds the language itself. The same clip gives the same words.

        Raises:
          DataError: the clip cannot be read, or has no sound.
        """
        wave = audio.read(path, rate=RATE, longest=longest)
        if audio.is_silent(wave):  # Whisper hears a word in it
            return ""
        segments, _ = self._model.transcribe(
            wave, temperature=0.0, condition_on_previous_text=False
        )
        words = " ".join(x.text for x in segments).split()
        # Of a tone it writes full stops.
        return " ".join(words) if any(map(str.isalnum, "".join(words))) else ""
