import numpy as np
import pytest

from msajax.data import demo_dialogues, dialogues, loader
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

# Row: dialogue, turn, speaker; in no order, as files have them.
ROWS = [(4, 2, 0), (9, 0, 1), (4, 0, 0), (9, 7, 0), (4, 1, 1)]


def split(rows=ROWS, steps=1, **changes):
    dialogue, turn, speaker = np.array(rows, np.int32).T
    number = len(rows)
    text = np.arange(number * steps * 2, dtype=np.float32).reshape(number, steps, 2)
    arrays = {
        "text": text,
        "text_mask": np.ones((number, steps), bool),
        "label": np.arange(10, 10 + number, dtype=np.int32),
        "dialogue": dialogue,
        "turn": turn,
        "speaker": speaker,
    }
    ids = np.array([f"dia{d}_utt{t}" for d, t, _ in rows])
    return Split(ids, np.full(number, ""), arrays | changes)


def corpus(**splits):
    return Corpus("dialogue_demo", {"train": split(), **splits})


def test_rows_are_dialogues_in_the_order_of_their_turns():
    made = dialogues.group(split())
    np.testing.assert_array_equal(made.arrays["places"], [[2, 4, 0], [1, 3, -1]])
    np.testing.assert_array_equal(made.arrays["label"], [[12, 14, 10], [11, 13, 0]])
    np.testing.assert_array_equal(made.arrays["speaker"], [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(made.arrays["utterance_mask"].sum(1), [3, 2])
    np.testing.assert_array_equal(made.arrays["text"][0, :, 0], [4, 8, 0])
    np.testing.assert_array_equal(made.arrays["text"][1, 2], [0, 0])
    assert made.ids.tolist() == ["dia4_utt0", "dia9_utt0"]


def test_an_utterance_is_the_mean_of_its_real_steps():
    mask = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]], bool)
    made = dialogues.group(split(steps=3, text_mask=mask))
    # Row 1, places 0 and 2 of its steps; row 2 lacks its text.
    np.testing.assert_array_equal(
        made.arrays["text"][1, 0], [(6 + 10) / 2, (7 + 11) / 2]
    )
    np.testing.assert_array_equal(
        made.arrays["text_mask"], [[False, True, True], [True, True, False]]
    )


def test_longer_dialogues_are_read_in_pieces():
    test = split([(0, t, 0) for t in range(7)])
    spec = loader.make_spec(corpus(valid=split(), test=test), view="dialogue")
    assert (spec.turns, spec.speakers, spec.lengths) == (3, 2, (3, 3, 3))
    made, note = dialogues.of_spec(test, spec)
    np.testing.assert_array_equal(
        made.arrays["places"], [[0, 1, 2], [3, 4, 5], [6, -1, -1]]
    )
    assert "more than 3 turns" in note and "2 more" in note
    assert dialogues.of_spec(split(), spec)[1] == ""


def test_200_turns_and_one_turn_and_one_speaker():
    long = split([(0, t, t % 9) for t in range(200)] + [(1, 0, 3)])
    made = dialogues.group(long)
    assert made.arrays["text"].shape == (2, 200, 2)
    np.testing.assert_array_equal(made.arrays["utterance_mask"].sum(1), [200, 1])
    spec = loader.make_spec(corpus(train=long), view="dialogue")
    assert (spec.turns, spec.speakers) == (200, 9)


@pytest.mark.parametrize("keys", [["dialogue"], ["turn", "speaker"]])
def test_data_without_dialogues_are_refused(keys):
    bare = split()
    for key in keys:
        del bare.arrays[key]
    with pytest.raises(DataError, match=f"no {', '.join(keys)}; give MELD"):
        dialogues.grouped(corpus(train=bare))


def test_a_turn_that_is_there_twice_is_refused():
    twice = [*ROWS, (4, 1, 0)]
    with pytest.raises(DataError, match='train: "dia4_utt1" and "dia4_utt1".*turn 1'):
        dialogues.grouped(corpus(train=split(twice)))


def test_an_empty_split_is_refused():
    empty = split().take(np.zeros(0, int))
    with pytest.raises(DataError, match="the split valid is empty"):
        dialogues.grouped(corpus(valid=empty))


def test_speakers_of_the_whole_corpus_are_refused():
    with pytest.raises(DataError, match="from 0 to 303.*within their dialogue"):
        dialogues.group(split([(0, 0, 0), (0, 1, 303)]))


def test_more_speakers_than_in_training_are_refused():
    spec = loader.make_spec(corpus(), view="dialogue")
    with pytest.raises(DataError, match="number 2.*made for 2 speakers, 0 to 1"):
        dialogues.of_spec(split([(0, 0, 2)]), spec)


def test_words_of_a_vocabulary_stay_words():
    ids = np.arange(15, dtype=np.int32).reshape(5, 3)
    words = split(text_ids=ids, text_mask=ids % 3 < 2)
    del words.arrays["text"]
    made = Corpus("dialogue_demo", {"train": words}, vocabulary=("a", "b"))
    spec = loader.make_spec(made, view="dialogue")
    assert spec.shape("text_ids") == (3, 3) and "text" not in spec.fields
    grouped, _ = dialogues.of_spec(words, spec)
    np.testing.assert_array_equal(grouped.arrays["text_ids"][1, 1], [9, 10, 0])


def sensible(rows=ROWS, **changes):
    sense = np.arange(10 * len(rows), dtype=np.float32).reshape(len(rows), 1, 10)
    return split(rows, commonsense=sense, **changes)


def test_common_sense_is_of_turns_for_systems_that_name_it():
    given = corpus(train=sensible())
    spec = loader.make_spec(given, view="dialogue", own_fields=("commonsense",))
    assert spec.shape("commonsense") == (3, 10)
    grouped, _ = dialogues.of_spec(sensible(), spec)
    found = loader.pad(grouped, spec)["commonsense"]
    np.testing.assert_array_equal(found[:, :, 0], [[20, 40, 0], [10, 30, 0]])
    short, _ = loader.parts(loader.pad(grouped, spec), 2)
    assert short["commonsense"].shape == (1, 2, 10)
    for view in ("dialogue", "utterance"):
        other = loader.make_spec(given, view=view)
        assert "commonsense" not in other.fields and not other.commonsense


def test_other_common_sense_than_in_training_is_refused():
    spec = loader.make_spec(
        corpus(train=sensible()), view="dialogue", own_fields=("commonsense",)
    )
    lacking, _ = dialogues.of_spec(split(), spec)
    with pytest.raises(ValueError, match='no "commonsense", which the system was tra'):
        loader.pad(lacking, spec)
    wide = sensible()
    wide.arrays["commonsense"] = np.zeros((5, 1, 15), np.float32)
    wider, _ = dialogues.of_spec(wide, spec)
    with pytest.raises(ValueError, match="commonsense has 15 features.*but 10 are exp"):
        loader.pad(wider, spec)


def test_parts_by_turns_are_cut_alike():
    rows = [(d, t, 0) for d, n in enumerate((1, 2, 5, 5)) for t in range(n)]
    text_mask = np.array([[t < 3] for _, t, _ in rows])  # later turns lack the text
    train = split(rows, text_mask=text_mask)
    spec = loader.make_spec(corpus(train=train), view="dialogue")
    grouped, _ = dialogues.of_spec(train, spec)
    short, long = loader.parts(loader.pad(grouped, spec), 2)
    for part, turns in ((short, 2), (long, 5)):
        lengths = {
            k: part[k].shape[1] for k in ("text", "text_mask", "label", "speaker")
        }
        assert set(lengths.values()) == {turns}
        assert part["places"].shape == (2, 5)  # whole, to find the rows again


def test_the_demo_label_is_the_speakers_last_mood():
    made = demo_dialogues.generate(3).splits["train"]
    shown = {w: m for m, words in demo_dialogues._WORDS.items() for w in words}
    last = {}
    for text, label, d, s in zip(
        made.raw_text,
        *(made.arrays[k].tolist() for k in ("label", "dialogue", "speaker")),
        strict=True,
    ):
        mood = demo_dialogues.MOODS.index(shown[str(text)])
        assert label == last.get((d, s), mood)
        last[d, s] = mood
    again = demo_dialogues.generate(3).splits["train"]
    np.testing.assert_array_equal(made.arrays["audio"], again.arrays["audio"])
