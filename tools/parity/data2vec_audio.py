"""data2vec-audio of Hugging Face's transformers."""

from tools.parity.wav2vec2 import reproduce

__all__ = ["reproduce"]
