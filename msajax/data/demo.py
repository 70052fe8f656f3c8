"""The embedded demo corpus: film reviews generated from a seed, no download.

A speaker has a mood, and text, audio and vision each carry a part of the
sentiment, a whole level from -3 to 3 that scatters around the mood:

    level_m = clip(round(mood + 1.2 e_m)),   mood ~ N(0, 0.8^2),  e_m ~ N(0, 1)
    sentiment = 0.8 text + 0.4 audio + 0.3 vision
    label = mean over 5 annotators of clip(round(sentiment + 0.8 e), -3, 3)

so labels are multiples of 0.2, as in MOSI. Where the three levels have the same
sign, 3 of 10 utterances are sarcastic (6 % of all): the text shows the opposite
of its level, and only voice and face give it away. 6 % of the rows lack one
modality: zeros, an all-False mask, and 0 as its own label. `label_text`,
`label_audio`, `label_vision` are by annotators who know that modality alone.

How a modality shows its level:

- text: a sentiment word, which may be negated ("not bad": 2) or intensified
  ("very good": 2), in a sentence of 4 to 20 words. The features are one vector
  per word; like a contextual encoder's, that of the sentiment word holds the
  level of the whole phrase.
- audio: at the sentiment word the voice is louder and its pitch leaves the
  speaker's own by the level (2 steps a word); the timbre of the whole utterance
  shows it as well, less exactly.
- vision: a smile or a frown, as strong as the level, comes and goes once on the
  face at rest (3 steps for 2 words).

An average over time shows a part of it, a sequence nearly all.

Best reachable correlation with the label (the Bayes-optimal estimator from the
levels shown; the rest is annotators' noise): 0.93 from all three modalities,
0.62 from text, 0.61 from audio, 0.55 from vision; 0.90 from all three for an
estimator that is linear in the levels and so cannot see sarcasm.

Weak clips (none by default) are ones whose modalities do not fit: a third has the
audio or the vision of another clip, in a third audio and vision are out of time, and
in a third they are noisy. Labels are those of the clip before.

Word vectors and mixtures are the same for every seed: another seed is more data
of the same world. There are no word pieces (`text_ids`, `text_type`).
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msajax.data.spec import Corpus, Split

WEIGHTS = (0.8, 0.4, 0.3)  # of text, audio and vision in the sentiment
LENGTHS = (20, 40, 30)
DIMS = (24, 12, 16)

_LEVEL_WORDS = {
    -3: ("terrible", "awful", "horrible", "dreadful", "disastrous"),
    -2: ("bad", "boring", "annoying", "disappointing", "ugly"),
    -1: ("weak", "bland", "clumsy", "slow", "flat"),
    1: ("good", "nice", "decent", "pleasant", "solid"),
    2: ("great", "lovely", "charming", "impressive", "enjoyable"),
    3: ("wonderful", "brilliant", "fantastic", "superb", "amazing"),
}
_INTENSIFIERS = ("very", "really", "truly")
_OPENERS = (
    "",
    "honestly",
    "i have to say",
    "well like i said last week",
    "so my sister and i agree that",
)
_SUBJECTS = (
    *("the plot", "the acting", "this movie", "the soundtrack", "the ending"),
    *("the first half", "the main character", "the whole cast", "the camera work"),
)
_NEUTRAL = (
    *("set in chicago", "from a book", "about two brothers", "in french"),
    *("like the trailer", "what it is", "from the nineties"),
)
_ENDINGS = (
    "",
    "in my opinion",
    "if you ask me",
    "for a film with this budget",
    "and we saw it on friday",
)
_VOCABULARY = sorted(
    {
        word
        for phrases in (*_LEVEL_WORDS.values(), _INTENSIFIERS, _OPENERS, _SUBJECTS)
        + (_NEUTRAL, _ENDINGS, ("is was not",))
        for phrase in phrases
        for word in phrase.split()
    }
)


class Latents(NamedTuple):
    """What lies behind N utterances; columns are text, audio, vision.

    Attributes:
      levels: [N, 3] int, each modality's part of the sentiment.
      shown: [N, 3] int, the level that it shows: the opposite for sarcastic text.
      sarcastic: [N] bool.
      present: [N, 3] bool, False for a missing modality.
      label: [N] float32.
      own_labels: [N, 3] float32, label of each modality alone.
    """

    levels: np.ndarray
    shown: np.ndarray
    sarcastic: np.ndarray
    present: np.ndarray
    label: np.ndarray
    own_labels: np.ndarray


class _World(NamedTuple):
    """What no seed changes.

    Attributes:
      words: the vector [Dt] of each word.
      valence: [Dt], what a level adds to the vector of a sentiment word.
      audio, vision: [tracks, Da], [tracks, Dv], from tracks to features.
    """

    words: dict[str, np.ndarray]
    valence: np.ndarray
    audio: np.ndarray
    vision: np.ndarray


def generate(
    seed: int = 0, *, num: Sequence[int] = (600, 150, 150), weak: float = 0.0
) -> Corpus:
    """The corpus of a seed.

    Args:
      seed: same seed, same bits; another seed is other utterances of the same world.
      num: rows of train, valid and test.
      weak: share of clips whose modalities do not fit together.

    Returns:
      Splits with text [N, 20, 24], audio [N, 40, 12], vision [N, 30, 16] float32,
      their masks, and `label` and the label of each modality [N] float32; sha256
      is that of the content.
    """
    world, splits, digest = _world(), {}, hashlib.sha256()
    for number, (name, rows) in enumerate(
        zip(("train", "valid", "test"), num, strict=True)
    ):
        # A split does not change with the size of another one.
        rng = np.random.default_rng((seed, number))
        split = _split(rng, rows, name=name, world=world)
        if weak:
            _weaken(np.random.default_rng((seed, number, 1)), split, share=weak)
        splits[name] = split
        for values in (split.ids, split.raw_text, *split.arrays.values()):
            digest.update(values.tobytes())
    return Corpus("demo", splits, sha256=digest.hexdigest())


def latents(rng: np.random.Generator, num: int) -> Latents:
    """Draws levels, sarcasm, missing modalities and labels of `num` utterances."""
    mood = rng.normal(0, 0.8, (num, 1))
    levels = np.rint(mood + rng.normal(0, 1.2, (num, 3))).clip(-3, 3).astype(int)
    agree = np.abs(np.sign(levels).sum(axis=1)) == 3
    sarcastic = agree & (rng.random(num) < 0.3)
    shown = levels.copy()
    shown[sarcastic, 0] *= -1
    lost = np.where(rng.random(num) < 0.06, rng.integers(0, 3, num), -1)
    present = lost[:, None] != np.arange(3)
    label = _annotate(rng, levels @ np.array(WEIGHTS))
    own_labels = np.where(present, _annotate(rng, shown), 0).astype(np.float32)
    return Latents(levels, shown, sarcastic, present, label, own_labels)


def _annotate(rng: np.random.Generator, sentiment: np.ndarray) -> np.ndarray:
    """Mean of five annotators' whole scores: [...] -> [...] float32."""
    scores = np.rint(sentiment[..., None] + rng.normal(0, 0.8, (*sentiment.shape, 5)))
    return (scores.clip(-3, 3).sum(axis=-1) / 5).astype(np.float32)


def _world() -> _World:
    rng = np.random.default_rng(2026)
    return _World(
        words={word: rng.normal(0, 0.2, DIMS[0]) for word in _VOCABULARY},
        valence=rng.normal(0, 0.8, DIMS[0]),
        audio=rng.normal(size=(3, DIMS[1])),
        vision=rng.normal(size=(3, DIMS[2])),
    )


def _split(rng: np.random.Generator, num: int, *, name: str, world: _World) -> Split:
    hidden = latents(rng, num)
    level_t, level_a, level_v = hidden.shown.T
    sentences, stress = zip(
        *(sentence(rng, level) for level in level_t.tolist()), strict=True
    )
    stress, words = np.array(stress), np.array([len(s) for s in sentences])
    steps_a = 2 * words - rng.integers(0, 2, num)
    steps_v = 3 * words // 2 - rng.integers(0, 2, num)
    features = {
        "text": (_text(sentences, level_t, stress=stress, world=world), words),
        "audio": (_audio(rng, level_a, stress=stress) @ world.audio, steps_a),
        "vision": (_vision(rng, level_v, steps=steps_v) @ world.vision, steps_v),
    }
    arrays = {"label": hidden.label}
    for column, (modality, (values, steps)) in enumerate(features.items()):
        mask = np.arange(values.shape[1]) < steps[:, None]
        mask &= hidden.present[:, column, None]
        values = values + rng.normal(0, 0.2, values.shape)
        # Three decimals: the last bits of exp and of a matrix product depend on
        # the machine, and the corpus must not.
        values = np.where(mask[..., None], np.round(values, 3), 0)
        arrays[modality] = values.astype(np.float32)
        arrays[f"{modality}_mask"] = mask
        arrays[f"label_{modality}"] = hidden.own_labels[:, column]
    ids = [f"{name}_{row:04d}" for row in range(num)]
    heard = hidden.present[:, 0]
    texts = [" ".join(s) if h else "" for s, h in zip(sentences, heard, strict=True)]
    return Split(np.array(ids), np.array(texts), arrays)


def _weaken(rng: np.random.Generator, split: Split, *, share: float) -> None:
    """Makes audio and vision of a share of the rows fit badly, in place."""
    num, arrays = len(split), split.arrays
    weak = rng.permutation(num)[: round(share * num)]
    kind = np.full(num, -1)
    kind[weak] = np.arange(len(weak)) % 3
    foreign, donor = rng.integers(0, 2, num), rng.integers(0, num, num)
    for number, m in enumerate(("audio", "vision")):
        mask = arrays[f"{m}_mask"]
        has = np.asarray(mask.any(axis=1))
        rows = np.flatnonzero((kind == 0) & (foreign == number) & has & has[donor])
        for name in (m, f"{m}_mask", f"label_{m}"):
            arrays[name][rows] = arrays[name].copy()[donor[rows]]
        for row in np.flatnonzero(kind == 1):  # audio late, vision early
            values = arrays[m][row, : mask[row].sum()]
            late = rng.integers(1, 3) * len(values) // 3
            values[:] = np.roll(values, late if m == "audio" else -late, axis=0)
        noise = np.round(rng.normal(0, 2, arrays[m].shape), 3)
        noisy = (kind == 2)[:, None] & mask
        arrays[m] += np.where(noisy[..., None], noise, 0).astype(np.float32)


def sentence(rng: np.random.Generator, level: int) -> tuple[list[str], int]:
    """Words that show a level, and the position of the stressed one."""
    opener, subject = _pick(rng, _OPENERS).split(), _pick(rng, _SUBJECTS).split()
    start = [*opener, *subject, _pick(rng, ("is", "was")), *_phrase(rng, level)]
    return [*start, *_pick(rng, _ENDINGS).split()], len(start) - 1


def _phrase(rng: np.random.Generator, level: int) -> list[str]:
    form = rng.random()
    if level == 0:
        return _pick(rng, _NEUTRAL).split()
    if form < 0.25 and abs(level) < 3:
        return ["not", _pick(rng, _LEVEL_WORDS[-level])]
    if form > 0.75 and abs(level) > 1:
        weaker = level - (1 if level > 0 else -1)
        return [_pick(rng, _INTENSIFIERS), _pick(rng, _LEVEL_WORDS[weaker])]
    return [_pick(rng, _LEVEL_WORDS[level])]


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _text(
    sentences: Sequence[list[str]],
    level: np.ndarray,
    *,
    stress: np.ndarray,
    world: _World,
) -> np.ndarray:
    """Word vectors: [N, Lt, Dt]."""
    values = np.zeros((len(sentences), LENGTHS[0], DIMS[0]))
    for row, sentence in enumerate(sentences):
        values[row, : len(sentence)] = [world.words[word] for word in sentence]
    values[np.arange(len(level)), stress] += level[:, None] * world.valence
    return values


def _audio(
    rng: np.random.Generator, level: np.ndarray, *, stress: np.ndarray
) -> np.ndarray:
    """Pitch, loudness and timbre: [N, La, 3]."""
    num = len(level)
    stressed = _bump(2 * stress + 0.5, np.full(num, 2.0), length=LENGTHS[1])
    speaker = rng.normal(size=num)[:, None]
    timbre = (0.5 * level + rng.normal(0, 0.3, num))[:, None]
    pitch = speaker + level[:, None] * stressed
    tracks = np.stack([pitch, 2 * stressed, timbre + 0 * stressed], axis=-1)
    return tracks + rng.normal(0, 0.3, tracks.shape)


def _vision(
    rng: np.random.Generator, level: np.ndarray, *, steps: np.ndarray
) -> np.ndarray:
    """Smile, frown and pose of the head: [N, Lv, 3]."""
    num = len(level)
    apex, width = steps * rng.uniform(0.2, 0.8, num), rng.uniform(3, 5, num)
    strength = np.stack([level.clip(0), (-level).clip(0), 0 * level], axis=-1)
    rest = rng.normal(0, 0.2, (num, 1, 3))
    shown = _bump(apex, width, length=LENGTHS[2])[..., None]  # [N, Lv, 1]
    tracks = rest + strength[:, None] * shown
    return tracks + rng.normal(0, 0.3, tracks.shape)


def _bump(centre: np.ndarray, width: np.ndarray, *, length: int) -> np.ndarray:
    """Rises to 1 at the centre and falls again: [N], [N] -> [N, length]."""
    distance = (np.arange(length) - centre[:, None]) / width[:, None]
    return np.exp(-0.5 * distance**2)
