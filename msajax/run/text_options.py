"""The section `config.text` of a recipe."""

import dataclasses
from typing import Literal

from msajax.data import typed
from msajax.data.spec import Size
from msajax.data.typed import Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions(typed.Checked):
    """How the raw text is read.

    Attributes:
      encoder: pretrained encoder: a folder, an installed package or an id on the hub;
        empty takes the text features of the data.
      max_length: largest number of word pieces, special tokens included; longer texts
        are cut.
      prefix: put in front of every text, and of what is read with it: the name of a task for
        an encoder that knows some, as T5 ("sst2 sentence: ").
      frozen: compute the encoder's features once, for systems that take any.
      raw: tokenize the raw text although the data has word pieces; so do a prefix and a
        context.
      words: whether audio and vision have a row per word, which is then repeated for
        the word's pieces.
      vocabulary: read the raw text as words of a vocabulary made of the training split,
        of at most max_length words, for systems that embed them.
      context: number of utterances before each one, of its video or dialogue, that the
        encoder reads with it. Where max_length is short they are cut first, the
        farthest first.
      context_behind: number of utterances behind each one that it reads in the same way.
      context_mark: whether a special token in front of the utterance tells it apart:
        'always', 'never', or 'auto', where the encoder has no segments (RoBERTa, MPNet).
      context_speaker: put who speaks in front of the utterance and of those that it is read
        with: the names that the data has (MELD's csv: "Joey:"), or "speaker 0:".
      reinit_layers: number of the encoder's last layers that start from random values
        instead of pretrained ones.
    """

    where: dataclasses.InitVar[str] = "config.text"
    encoder: str = ""
    max_length: Size = 50
    prefix: str = ""
    frozen: bool = False
    raw: bool = False
    words: bool = False
    vocabulary: bool = False
    context: Count = 0
    context_behind: Count = 0
    context_mark: Literal["auto", "always", "never"] = "auto"
    context_speaker: bool = False
    reinit_layers: Count = 0

    def __post_init__(self, where: str):
        super().__post_init__(where)
        if self.vocabulary and self.encoder:
            raise ValueError(
                "config.text.vocabulary and config.text.encoder are both set; leave one "
                "out: a system reads words by an embedding of its own, or by a "
                "pretrained encoder"
            )
        contexts = ("context", "context_behind", "context_speaker")
        for key in ("prefix", "frozen", "raw", "words", "reinit_layers", *contexts):
            if getattr(self, key) and not self.encoder:
                raise ValueError(
                    f"config.text.{key} is set, but config.text.encoder names no encoder; "
                    "give a folder, an installed package or an id on the hub, or unset it"
                )
        if self.context_speaker and not self.joined:
            raise ValueError(
                "config.text.context_speaker is set, but no utterances are joined; set "
                "config.text.context (or context_behind) to their number, or unset it"
            )
        if self.joined >= self.max_length:
            raise ValueError(
                f"config.text.context and context_behind join {self.joined} utterances to each "
                f"one, but config.text.max_length leaves {self.max_length} word pieces for "
                "all; give fewer utterances, or more pieces"
            )

    @property
    def joined(self) -> int:
        """Number of utterances that the encoder reads with each one."""
        return self.context + self.context_behind
