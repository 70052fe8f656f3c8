import collections

import pytest

from msajax.data import unlabelled
from msajax.data.errors import DataError
from msajax.data.read import read


def test_rows_of_a_file(samples, write):
    corpus = read(write(samples.label_csv()), dataset="mosi")
    assert {name: len(split) for name, split in corpus.splits.items()} == samples.ROWS
    split = corpus.splits["train"]
    assert split.ids.tolist() == [f"train{i}$_${i}" for i in range(4)]
    assert split.raw_text[0] == '"Oh, no"\n0'
    assert split.arrays["label"].tolist() == pytest.approx([-1.0, -0.8, -0.6, -0.4])
    assert list(split.arrays) == ["label"]


def test_labels_of_single_modalities(write):
    text = (
        "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
        "video_0001,0001,我不想嫁给李茶,-0.6,-1.0,0.2,0,Negative,train\n"
    )
    split = read(write(text.encode()), dataset="sims").splits["train"]
    assert split.raw_text.tolist() == ["我不想嫁给李茶"]
    labels = [split.arrays[f"label_{name}"][0] for name in ("text", "audio", "vision")]
    assert labels == pytest.approx([-1.0, 0.2, 0.0])


ROWS = [
    "video_id,clip_id,text,label,mode",
    *(f"v,{i},我不想嫁给李茶，他是一个很好的人,-1.0,train" for i in range(9)),
]


@pytest.mark.parametrize("separator", ",;\t")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk"])
def test_files_that_excel_saves(encoding, separator, write):
    text = "\r\n".join(ROWS).replace(",", separator)
    path = write(text.encode(encoding), "label.csv")
    corpus = read(path, dataset="sims", encoding="gbk")
    assert corpus.splits["train"].raw_text[8] == "我不想嫁给李茶，他是一个很好的人"
    assert len(corpus.splits["train"]) == 9 and corpus.notes == ()
    if encoding == "gbk":
        with pytest.raises(
            DataError, match="label.csv is no UTF-8 .* likely gbk, which"
        ):
            read(path, dataset="sims")


def test_to_predict_neither_label_nor_mode_is_needed(write):
    path = write(b"video_id,clip_id,text\nv,1,hello\nv,2,bye\n")
    corpus = read(path, dataset="mosi", labels=False)
    assert corpus.splits["all"].raw_text.tolist() == ["hello", "bye"]
    assert corpus.splits["all"].arrays == {}
    with pytest.raises(DataError, match='the column "label" is missing'):
        read(path, dataset="mosi")


HEADER = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode"


def sims_csv(*rows):
    """CH-SIMS' label.csv of {mode: cells of labels} rows."""
    lines = [f"v,{i},good,{cells},{mode}" for i, (mode, cells) in enumerate(rows)]
    return "\n".join([HEADER, *lines]).encode()


def test_rows_of_the_mode_unlabeled_have_no_labels(write):
    known = [("train", "-0.4,0,0.2,0,Negative"), ("valid", "0,0,0,0,Neutral")]
    without = [("unlabeled", ",,,,"), (" Unlabelled", "?,,1,,x")]
    for rows in ([*known, *without], [*without, *known]):
        path = write(sims_csv(*rows))
        for dataset in ("simsv2", "simsv2_classes"):
            corpus = read(path, dataset=dataset)
            assert list(corpus.splits) == ["train", "valid", "unlabelled"]
            rest = corpus.splits["unlabelled"]
            assert len(rest) == 2 and not rest.arrays["label"].any()
            corpus = unlabelled.join(corpus, rest)
            found = corpus.splits["train"].arrays
            assert found["labelled"].tolist() == [True, False, False]
            first = pytest.approx(-0.4) if dataset == "simsv2" else 0
            assert found["label"].tolist() == [first, 0, 0]
    alone = read(write(b"video_id,clip_id,text,mode\nv,1,x,unlabeled"), dataset="sims")
    assert list(alone.splits) == ["unlabelled"]


def test_an_empty_label_is_refused_by_its_row(write):
    rows = [("train", "0,0,0,0,Neutral")] * 2 + [("train", ",0,0,0,")] * 2
    message = "is empty in 2 of 4 rows, the first is row 4 of file.pkl; rows without"
    with pytest.raises(DataError, match=f"label {message} a label have the mode"):
        read(write(sims_csv(*rows)), dataset="sims")
    with pytest.raises(DataError, match=f"annotation {message}"):
        read(write(sims_csv(*rows)), dataset="sims_classes")


def test_labels_of_single_modalities_that_were_not_made(write):
    rows = [("train", "-0.4,,,,Negative"), ("train", "0,,,,Neutral")]
    arrays = read(write(sims_csv(*rows)), dataset="mosi").splits["train"].arrays
    assert list(arrays) == ["label"]
    rows[1] = ("train", "0,1,,,Neutral")
    message = (
        "label_T is empty in 1 of 2 rows, the first is row 2 .*; fill them, or leave"
    )
    with pytest.raises(DataError, match=message):
        read(write(sims_csv(*rows)), dataset="sims")


def test_classes_by_name_alone(write):
    path = write(b"video_id,clip_id,text,annotation,mode\nv,1,well,Neutral,train\n")
    with pytest.raises(DataError, match="annotation: .*dataset sims_classes"):
        read(path, dataset="sims")
    corpus = read(path, dataset="sims_classes")
    assert corpus.splits["train"].arrays["label"].tolist() == [1]


def test_bad_cells_are_named_by_their_row(samples, write):
    good = samples.label_csv()
    with pytest.raises(
        DataError, match='row 3 of file.pkl: label is "x", expected a number'
    ):
        read(write(good.replace(b"-0.8", b"x")), dataset="mosi")
    message = "row 2 of file.pkl: the column mode is empty, expected .* train, valid"
    with pytest.raises(DataError, match=message):
        read(write(good.replace(b",train\r", b",\r")), dataset="mosi")
    message = 'row 2 of file.pkl: unknown split "trian"; did you mean "train"'
    with pytest.raises(DataError, match=message):
        read(write(good.replace(b",train\r", b",trian\r")), dataset="mosi")


def test_mosi_and_mosei_as_distributed(shared):
    for name, rows in (("mosi", [1284, 229, 686]), ("mosei", [16326, 1871, 4659])):
        path = shared / "data" / name / f"{name.upper()}-label.csv"
        corpus = read(path, dataset=name)
        assert [len(split) for split in corpus.splits.values()] == rows
        assert all(all(split.raw_text) for split in corpus.splits.values())
        low_high = [
            f(s.arrays["label"]) for s in corpus.splits.values() for f in (min, max)
        ]
        assert (min(low_high), max(low_high)) == (-3.0, 3.0) and corpus.notes == ()
    counts = collections.Counter(corpus.splits["train"].ids.tolist())
    assert counts.most_common(1)[0][1] == 1
    assert corpus.splits["train"].ids[0] == "-3g5yACwYnA$_$10"
