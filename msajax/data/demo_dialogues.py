"""The embedded demo dialogues: conversations generated from a seed, no download.

Two or three people talk, 3 to 12 turns, in any order. Each turn shows a mood (calm, glad
or upset) in all three modalities, but the label is the mood that the speaker showed in
his *own last turn*; in his first turn it is the one that he shows. So a system

- that reads utterances alone is right where people speak first, and else by chance;
- that reads the dialogue but no speakers has to guess who said what;
- that follows the speakers can be right everywhere.

A feature vector is that of its mood, in a direction of the modality, and Gaussian noise.
The directions are the same for every seed: another seed is more data of the same world.
"""

import hashlib

import numpy as np

from msajax.data.spec import MODALITIES, Corpus, Split

MOODS = ("calm", "glad", "upset")
DIMS = (12, 6, 8)
DIALOGUES = {"train": 160, "valid": 40, "test": 60}
_NOISE = 0.3
_WORDS = {
    "calm": ("well", "all right", "as you like"),
    "glad": ("great", "how lovely", "i am so happy"),
    "upset": ("oh no", "how awful", "leave me alone"),
}


def generate(seed: int = 0) -> Corpus:
    """The demo dialogues.

    Args:
      seed: of the dialogues and the noise.

    Returns:
      A cleaned corpus with dialogue, turn and speaker, one vector per utterance.
    """
    world = np.random.default_rng(7)
    means = [world.normal(size=(len(MOODS), dim)).astype(np.float32) for dim in DIMS]
    splits = {}
    for i, (name, count) in enumerate(DIALOGUES.items()):
        splits[name] = _split(name, count, np.random.default_rng((seed, i)), means)
    digest = hashlib.sha256(f"demo dialogues {seed}".encode()).hexdigest()
    return Corpus("dialogue_demo", splits, sha256=digest)


def _split(
    name: str, count: int, rng: np.random.Generator, means: list[np.ndarray]
) -> Split:
    ids, texts, dialogue, turn, speaker, mood, label = ([] for _ in range(7))
    for d in range(count):
        people, last = rng.integers(2, 4), {}
        for t in range(rng.integers(3, 13)):
            who, shown = int(rng.integers(people)), int(rng.integers(len(MOODS)))
            # Numbered in the order of their first turns, as MELD's.
            who = min(who, len(last))
            ids.append(f"{name}_dia{d}_utt{t}")
            texts.append(str(rng.choice(_WORDS[MOODS[shown]])))
            label.append(last.get(who, shown))
            last[who] = shown
            for values, value in (
                (dialogue, d),
                (turn, t),
                (speaker, who),
                (mood, shown),
            ):
                values.append(value)
    arrays = {}
    for modality, mean in zip(MODALITIES, means, strict=True):
        noise = rng.normal(0, _NOISE, (len(ids), mean.shape[1]))
        arrays[modality] = (mean[mood] + noise).astype(np.float32)[:, None]
        arrays[f"{modality}_mask"] = np.ones((len(ids), 1), bool)
    numbers = dict(label=label, dialogue=dialogue, turn=turn, speaker=speaker)
    arrays |= {key: np.array(values, np.int32) for key, values in numbers.items()}
    return Split(np.array(ids), np.array(texts), arrays)
