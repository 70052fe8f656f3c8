import pickle

import numpy as np
import pytest

from msajax.data import loader, read
from msajax.data.errors import DataError

IDS = {"b": 2, "a": 3, "c": 1, "d": 2}  # dialogues and their turns
RNG = np.random.default_rng(0)


def by_dialogue(make, ids=IDS):
    return {key: [make(key, i) for i in range(count)] for key, count in ids.items()}


def vectors(width):
    return by_dialogue(lambda *_: RNG.normal(size=width))


def one_hot(key, turn):
    return [int(turn % 2 == place) for place in range(9)]


SENTENCES = by_dialogue(lambda key, i: f"{key} says {i}")
NAMES = by_dialogue(lambda key, i: f"Ses_{key}_F00{i}")
NUMBERS = by_dialogue(lambda key, i: i)
LABELS = by_dialogue(lambda key, i: (ord(key) + i) % 6)
GENDER = by_dialogue(lambda key, i: "MF"[i % 2])
ONE_HOT = by_dialogue(one_hot)
TRAIN, TEST = {"b", "a", "d"}, ["c"]
LAYERS = [vectors(4) for _ in range(4)]
FILES = {
    "iemocap_features": (
        "iemocap",
        *[
            (
                NAMES,
                GENDER,
                LABELS,
                vectors(5),
                vectors(3),
                vectors(2),
                SENTENCES,
                TRAIN,
                TEST,
            )
        ],
    ),
    "meld_raw": (
        "meld",
        (
            NUMBERS,
            ONE_HOT,
            LABELS,
            vectors(5),
            vectors(3),
            SENTENCES,
            TRAIN,
            TEST,
            LABELS,
        ),
    ),
    "meld_raw1": (
        "meld",
        *[
            (NUMBERS, ONE_HOT, LABELS, vectors(5), vectors(3), vectors(2))
            + (SENTENCES, TRAIN, TEST, LABELS)
        ],
    ),
    "iemocap_roberta": (
        "iemocap",
        (GENDER, LABELS, *LAYERS, SENTENCES, {"b", "a"}, TEST, ["d"]),
    ),
    "meld_roberta": (
        "meld",
        (ONE_HOT, LABELS, LABELS, *LAYERS, SENTENCES, {"b", "a"}, TEST, ["d"]),
    ),
}


def written(folder, data, name="any_name.pkl"):
    path = folder / name
    path.write_bytes(pickle.dumps(data, protocol=2))
    return path


@pytest.mark.parametrize("name", FILES)
def test_every_layout_reads_right(tmp_path, name):
    dataset, data = FILES[name]
    corpus = read.read(written(tmp_path, data), dataset=dataset)
    train, test = corpus.splits["train"], corpus.splits["test"]
    own = "roberta" in name
    # Without a validation split every tenth training dialogue is it: the first of three.
    ids = (["a", "b"] if own else ["b", "d"]), ["d"] if own else ["a"], ["c"]
    for split, keys in zip(("train", "valid", "test"), ids, strict=True):
        found = corpus.splits[split]
        words = [text for key in keys for text in SENTENCES[key]]
        assert found.raw_text.tolist() == words
        turns = [i for key in keys for i in range(IDS[key])]
        assert found.arrays["turn"].tolist() == turns
        assert found.arrays["speaker"].tolist() == [i % 2 for i in turns]
        labels = [label for key in keys for label in LABELS[key]]
        assert found.arrays["label"].tolist() == labels
    assert train.arrays["dialogue"].max() == 1
    text = LAYERS if own else [data[3]]
    wanted = np.concatenate([entry["c"][0] for entry in text]).astype(np.float32)
    np.testing.assert_array_equal(test.arrays["text"][0, 0], wanted)
    assert ("vision" in test.arrays) == (name in ("iemocap_features", "meld_raw1"))
    assert test.ids.tolist() == (
        ["Ses_c_F000"] if name == "iemocap_features" else ["diac_utt0"]
    )
    assert any("validation: the file has none" in note for note in corpus.notes) != own
    spec = loader.make_spec(corpus, view="dialogue")
    assert (spec.turns, spec.speakers) == (3 if own else 2, 2)


def test_the_dialogues_of_melds_dev_are_its_validation(tmp_path):
    ids = dict.fromkeys(range(1160), 1)
    entry = by_dialogue(lambda *_: np.ones(2), ids)
    numbers, words = by_dialogue(lambda *_: 0, ids), by_dialogue(lambda *_: "a", ids)
    speakers = by_dialogue(one_hot, ids)
    data = (numbers, speakers, numbers, entry, entry, words)
    data += (set(range(1152)), set(range(1152, 1160)), numbers)
    corpus = read.read(written(tmp_path, data), dataset="meld")
    assert corpus.splits["valid"].ids[0] == "dia1038_utt0"
    assert {k: len(s) for k, s in corpus.splits.items()} == {
        "train": 1038,
        "valid": 114,
        "test": 8,
    }


def changed(name, place, **entries):
    dataset, data = FILES[name]
    data = list(data)
    data[place] = {**data[place], **entries}
    return dataset, tuple(data)


COMET = tuple(vectors(3) for _ in range(9))


# The relations that are read, by their place in the file.
READ = 4, 5, 0, 7, 8


def with_comet(folder, name="iemocap_roberta", comet=COMET):
    dataset, data = FILES[name]
    written(folder, comet, "x_features_comet.pkl")
    return written(folder, data, "x_features_roberta.pkl"), dataset


@pytest.mark.parametrize("name", ["iemocap_roberta", "meld_roberta"])
def test_comets_vectors_are_read_from_beside_robertas(tmp_path, name):
    path, dataset = with_comet(tmp_path, name)
    corpus = read.read(path, dataset=dataset)
    for split, keys in (("train", "ab"), ("valid", "d"), ("test", "c")):
        found = corpus.splits[split].arrays["commonsense"]
        rows = [
            np.concatenate([COMET[place][key][turn] for place in READ])
            for key in keys
            for turn in range(IDS[key])
        ]
        np.testing.assert_array_equal(found[:, 0], np.float32(rows))
    assert "common sense: x_features_comet.pkl, which lies beside it" in corpus.notes
    alone = read.read(written(tmp_path, FILES[name][1]), dataset=dataset)
    assert "commonsense" not in alone.splits["train"].arrays
    assert corpus.sha256 != alone.sha256  # of both files
    assert read.files(".") == []  # has no name


@pytest.mark.parametrize(
    "comet,message",
    [
        (COMET[:8], "x_features_comet.pkl, which lies beside it, .* it has 8 entries"),
        ((*COMET[:4], vectors(2), *COMET[5:]), "COMET's xEffect 2, COMET's xReact 3"),
        (
            (*COMET[:5], {**COMET[5], "b": [[1.0] * 3]}, *COMET[6:]),
            'dialogue "b" of the split "train" has 2 sentences, but 1 vectors of COMET',
        ),
        (
            (*COMET[:5], {**COMET[5], "b": [[1.0], [2.0]]}, *COMET[6:]),
            "COMET's xReact has other widths in other dialogues",
        ),
        (
            (*COMET[:5], {k: v for k, v in COMET[5].items() if k != "c"}, *COMET[6:]),
            'the dialogue "c" of the split "test" has no vectors of COMET\'s xReact',
        ),
    ],
)
def test_other_vectors_than_comets_say_what_they_are(tmp_path, comet, message):
    path, dataset = with_comet(tmp_path, comet=comet)
    with pytest.raises(DataError, match=message):
        read.read(path, dataset=dataset)


@pytest.mark.parametrize(
    "dataset,data,message",
    [
        ("meld", FILES["iemocap_features"][1], "those of iemocap, not of meld"),
        ("iemocap", FILES["meld_raw"][1], "those of meld, not of iemocap"),
        ("iemocap", COMET, "COMET's vectors of common sense"),
        (
            "meld",
            (*FILES["meld_raw"][1], SENTENCES),
            r"with that of MELD_features_raw1.pkl \(10 entries\), entry 6 \(vision\) "
            r"holds texts instead of vectors, entry 7 \(words\) .*; it has 10 entries",
        ),
        (
            "iemocap",
            FILES["iemocap_features"][1][:8],
            r"no known layout: it has 8 entries: 1 texts, .*8 ids.*known are IEMOCAP_fea"
            r"tures.pkl \(9 entries\), .*meld_features_roberta.pkl \(11 entries\)",
        ),
        (
            *changed("meld_raw", 1, a=[one_hot("a", 0)] * 2),
            "3 sentences, but 2 speakers",
        ),
        (
            *changed("meld_raw", 3, b=[[1.0] * 5]),
            "has 2 sentences, but 1 vectors of text",
        ),
        (*changed("meld_raw", 1, b=[[1, 1, 0], [0, 1, 0]]), "2 ones in its vector"),
        (*changed("meld_raw", 1, b=[[0, 5, 0], [0, 1, 0]]), "has a 5 in its vector"),
        (*changed("meld_raw", 3, b=None), r"entry 4 \(text\) holds something else"),
        (
            "meld",
            (*FILES["meld_raw"][1][:6], [["b"], ["a"]], ["c"], LABELS),
            "by a list",
        ),
        (*changed("iemocap_features", 1, b=["M", "X"]), 'is "X", expected M or F'),
        (*changed("meld_raw", 4, b=[[1.0], [2.0]]), "audio has other widths"),
        (*changed("meld_raw", 4, b=[[1.0] * 3, [2.0]]), "expected one width"),
    ],
)
def test_the_wrong_file_says_what_it_is(tmp_path, dataset, data, message):
    with pytest.raises(DataError, match=message):
        read.read(written(tmp_path, data), dataset=dataset)


def test_a_dialogue_in_two_splits_is_refused(tmp_path):
    dataset, data = FILES["meld_raw"]
    data = (*data[:7], ["c", "a"], data[8])
    with pytest.raises(DataError, match='dialogue "a" is in two splits'):
        read.read(written(tmp_path, data), dataset=dataset)


def test_dialogues_of_any_size_and_number_of_speakers(tmp_path):
    """One turn, 200 turns, one speaker, nine."""
    ids = {"b": 1, "a": 200, "c": 1, "d": 9}

    def read_with(speakers, dataset):
        names, words = (
            by_dialogue(lambda *_: "a", ids),
            by_dialogue(lambda *_: "a", ids),
        )
        labels = by_dialogue(lambda *_: 1, ids)
        entries = [by_dialogue(lambda *_: np.ones(2), ids) for _ in range(3)]
        data = (names, by_dialogue(speakers, ids), labels, *entries, words)
        data += (["a", "b", "d"], ["c"]) + (labels,) * (dataset == "meld")
        for key, rows in names.items():
            names[key] = [f"{key}{i}" for i in range(len(rows))]
        corpus = read.read(written(tmp_path, data), dataset=dataset)
        assert {len(corpus.splits[k]) for k in ("valid", "test")} == {200, 1}
        spec = loader.make_spec(corpus, view="dialogue")
        return spec.turns, spec.speakers

    assert read_with(lambda *_: "F", "iemocap") == (9, 2)  # numbered M, F
    assert read_with(lambda key, i: np.eye(9)[i % 9], "meld") == (9, 9)
    assert read_with(lambda *_: [1.0], "meld") == (9, 1)


def test_utterances_in_arrays_read_as_those_in_lists(tmp_path):
    dataset, data = FILES["meld_roberta"]
    arrays = tuple(
        {key: np.array(rows) for key, rows in part.items()}
        if isinstance(part, dict) and part is not SENTENCES
        else part
        for part in data
    )
    found, wanted = (
        read.read(written(tmp_path, x), dataset=dataset).splits["train"]
        for x in (arrays, data)
    )
    for key, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[key], array)


def test_an_utterance_without_audio_counts_as_lacking_it(tmp_path):
    dataset, data = changed("meld_raw", 4, c=[np.zeros(3)])
    corpus = read.read(written(tmp_path, data), dataset=dataset)
    assert not corpus.splits["test"].arrays["audio_mask"].any()
    assert corpus.splits["train"].arrays["audio_mask"].all()


def test_dialogues_with_other_names_than_numbers_have_no_dev_of_melds(tmp_path):
    ids = dict.fromkeys(map(str, range(1160)), 1)
    entry = by_dialogue(lambda *_: np.ones(2), ids)
    numbers, words = by_dialogue(lambda *_: 0, ids), by_dialogue(lambda *_: "a", ids)
    data = (numbers, by_dialogue(one_hot, ids), numbers, entry, entry, words)
    data += ([*ids][:1152], [*ids][1152:], numbers)
    corpus = read.read(written(tmp_path, data), dataset="meld")
    assert len(corpus.splits["valid"]) == 116  # every tenth
