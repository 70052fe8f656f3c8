"""The utterances around each one, which its encoder reads with it (config.text.context)."""

import dataclasses

import numpy as np

from msajax.data import dialogues, videos
from msajax.data.errors import DataError
from msajax.data.spec import Corpus


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """The utterances that are joined to each one, in the order of their video or dialogue.

    Attributes:
      before, behind: how many of them.
      mark: whether a special token is put in front of the utterance itself: 'always',
        'never', or 'auto', where the network or its tokenizer has no segments.
      segments: whether the network has segments. The neighbours then have the second.
      speakers: whether who speaks is put in front of the utterance and of its neighbours.
    """

    before: int
    behind: int
    mark: str
    segments: bool
    # What the cache keeps without them is still right.
    speakers: bool = dataclasses.field(default=False, repr=False)

    def rows(self, corpus: Corpus) -> tuple[list[np.ndarray], list[str]]:
        """The neighbours of each split's rows.

        Args:
          corpus: cleaned.

        Returns:
          Of each split [N, before + behind] int32, as `videos.neighbours`; and notes.

        Raises:
          DataError: ids that name no video.
        """
        rows, groups, unknown = [], 0, 0
        for name, split in corpus.splits.items():
            found, count, without = videos.neighbours(split, self.before, self.behind)
            if name == "train" and without == len(split):
                raise DataError(
                    "config.text.context joins the utterances of a video, but the id "
                    f'"{split.ids[0][:80]}" names none; give ids such as "video$_$3", '
                    '"video[3]" or "video_utt3", or train with config.text.context=0'
                )
            rows.append(found)
            groups, unknown = groups + count, unknown + without
        total = sum(map(len, rows))
        notes = [f"context: {total - unknown} texts of {groups} videos or dialogues"]
        if any("text_ids" in split.arrays for split in corpus.splits.values()):
            notes.append("context: made of the raw text, not of the data's word pieces")
        if unknown:
            notes.append(f"context: {unknown} texts whose ids name no video are alone")
        return rows, notes

    def marks(self, corpus: Corpus) -> tuple[list[np.ndarray], list[str]]:
        """What is put in front of each split's rows, 'Joey:', [N] str; and a note. Nothing without speakers.

        Raises:
          DataError: a corpus to train on does not say who speaks.
        """
        if not self.speakers:
            return [], []
        try:
            found = [dialogues.speaker_names(split) for split in corpus.splits.values()]
        except DataError:
            if "train" in corpus.splits:
                raise
            # New clips and texts: nobody is named.
            return [], ["context: the data does not say who speaks"]
        kind = "names" if all(named for _, named in found) else "numbers"
        marks = [np.array([f"{name}:" for name in names], str) for names, _ in found]
        return marks, [f"context: the speakers' {kind} stand in front of the texts"]


def own_first(x: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The steps where own [N, L] is True, then the others, each in their order: like x [N, L, ...]."""
    order = np.argsort(~own, axis=1, kind="stable")
    return np.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), 1)
