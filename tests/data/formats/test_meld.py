import shutil

import numpy as np
import pytest

from msajax.data import dialogues
from msajax.data.errors import DataError
from msajax.data.formats import meld
from msajax.data.read import read
from msajax.data.spec import DATASETS


@pytest.fixture
def folder(samples, write):
    for i, stem in enumerate(("train_sent_emo", "dev_sent_emo", "test_sent_emo")):
        path = write(samples.meld_csv(dialogues=3 - i), f"meld/{stem}.csv")
    return path.parent


def test_dialogues_of_a_folder(folder):
    corpus = read(folder, dataset="meld")
    assert [len(split) for split in corpus.splits.values()] == [9, 6, 3]
    split = corpus.splits["valid"]
    assert split.ids.tolist()[2:4] == ["valid_dia0_utt3", "valid_dia1_utt0"]
    assert split.raw_text[0] == "It’s, well"
    assert [note.split(": ")[1] for note in corpus.notes] == [
        "9 bytes in 9 of 10 lines of train_sent_emo.csv",
        "6 bytes in 6 of 7 lines of dev_sent_emo.csv",
        "3 bytes in 3 of 4 lines of test_sent_emo.csv",
    ]
    assert split.arrays["dialogue"].tolist() == [0, 0, 0, 1, 1, 1]
    assert split.arrays["turn"].tolist() == [0, 1, 2, 0, 1, 2]
    assert split.arrays["speaker"].tolist() == [0, 1, 1, 0, 1, 1]
    who, named = dialogues.speaker_names(split)
    assert named and len({*who}) == 2 and who[:3] == who[3:]
    classes = DATASETS["meld"].classes
    names = [classes[i] for i in split.arrays["label"]]
    assert names == ["neutral", "joy", "joy"] * 2
    assert split.arrays["label"].dtype == np.int32


def test_one_file_is_the_split_of_its_name(folder):
    assert list(read(folder / "dev_sent_emo.csv", dataset="meld").splits) == ["valid"]
    other = shutil.copy(folder / "dev_sent_emo.csv", folder / "mine.csv")
    assert list(read(other, dataset="meld", labels=False).splits) == ["all"]


def test_the_hash_is_of_all_files(folder):
    before = read(folder, dataset="meld").sha256
    path = folder / "test_sent_emo.csv"
    path.write_bytes(path.read_bytes().replace(b"well", b"Well"))
    assert read(folder, dataset="meld").sha256 != before


def test_bad_files(folder):
    path = folder / "dev_sent_emo.csv"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"joy", b"joi"))
    with pytest.raises(
        DataError, match='row 3 of dev_.*.csv: unknown emotion "joi"; did'
    ):
        read(folder, dataset="meld")
    path.write_bytes(good.replace(b"neutral,0,0", b"neutral,0,1"))
    with pytest.raises(DataError, match='the id "valid_dia0_utt1"'):
        read(folder, dataset="meld")
    path.write_bytes(good.replace(b"neutral,0,0", b"neutral,0,1.5"))
    with pytest.raises(
        DataError, match='row 2 of dev_.*: Utterance_ID is "1.5", expec'
    ):
        read(folder, dataset="meld")
    with pytest.raises(DataError, match='"mosi" has no .*--config.data.dataset=meld'):
        read(folder, dataset="mosi")


def test_meld_as_distributed(shared):
    corpus = read(shared / "data" / "meld", dataset="meld")
    assert tuple(len(split) for split in corpus.splits.values()) == meld.ROWS
    dialogues = [len(np.unique(s.arrays["dialogue"])) for s in corpus.splits.values()]
    assert dialogues == [1038, 114, 280]
    train = corpus.splits["train"]
    counts = np.bincount(train.arrays["label"], minlength=7)
    found = dict(zip(DATASETS["meld"].classes, counts.tolist(), strict=True))
    assert found["neutral"] == 4710 and found["fear"] == 268 and counts.sum() == 9989
    assert train.raw_text[1] == "You must’ve had your hands full."
    for i in (0, 1, 500):
        turns = train.arrays["turn"][train.arrays["dialogue"] == i]
        assert turns.tolist() == list(range(len(turns)))
