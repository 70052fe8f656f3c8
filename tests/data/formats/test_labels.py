"""Labels of other shapes: named by their shape, or read where a dataset says how."""

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.formats import labels
from msajax.data.read import read
from msajax.data.spec import DATASETS, MOSEI_EMOTIONS

EMOTIONS = np.array(
    [[-1.5, 0, 2, 0, 0, 0.3, 0], [3, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0], [1] * 7]
)
HOT = np.array([3, 0, 1, 3])


def two_way(hot=HOT, classes=4):
    """One two-way one-hot per class, as MulT's file of IEMOCAP."""
    on = np.eye(classes)[hot]
    return np.stack([1 - on, on], axis=-1)


def as_mmsa(samples, values):
    data = samples.mmsa_data()
    for i, entry in enumerate(data.values()):
        entry["regression_labels"] = values if i == 0 else values[:3]
        entry["classification_labels"] = entry["regression_labels"]
    return data


def as_mult(samples, values):
    data = samples.mult_data()
    for i, entry in enumerate(data.values()):
        entry["labels"] = values if i == 0 else values[:3]
    return data


def as_mag(samples, values):
    data = samples.mag_data()
    return {
        name: [
            (features, x, i)
            for (features, _, i), x in zip(rows, values[: len(rows)], strict=True)
        ]
        for name, rows in data.items()
    }


def as_npz(samples, values):
    kept = {"id": np.arange(4).astype(str), "label": values, "audio": np.ones((4, 2))}
    return samples.npz_bytes(kept | {"split": np.array(["train"] * 4)})


FILES = [as_mmsa, as_mult, as_mag, as_npz]
files = pytest.mark.parametrize("file", FILES, ids=lambda f: f.__name__)


@files
@pytest.mark.parametrize("dataset", ["mosi", "meld"])
def test_other_shapes_are_named_and_what_they_look_like(file, dataset, samples, write):
    def refused(values, message):
        with pytest.raises(DataError, match=message):
            read(write(file(samples, values)), dataset=dataset)

    refused(
        EMOTIONS[:, None], r"an array \[4, 1, 7\].*MOSEI.*config.data.dataset=mosei"
    )
    refused(EMOTIONS[:, 1:], r"an array \[4, 6\].*six emotions.*mosei_happy")
    refused(two_way(), r"an array \[4, 4, 2\].*IEMOCAP.*config.data.dataset=iemocap4")
    refused(
        np.ones((4, 4)), r"an array \[4, 4\].*IEMOCAP.*config.data.dataset=iemocap4"
    )
    refused(np.ones((4, 5)), r"an array \[4, 5\].*one number a row.*several labels")
    refused(two_way(classes=9), r"an array \[4, 9, 2\].*two-way.*not supported")
    advised = f"{dataset if dataset == 'mosi' else 'mosi'}_classes"
    refused(np.eye(3)[[0, 1, 2, 1]], f"one-hot of neg.*=.*dataset {advised}\\)$")


@files
def test_one_label_a_row_in_any_shape(file, samples, write):
    for shape in ((4,), (4, 1), (4, 1, 1)):
        values = np.array([-3, 0, 0.5, 1.0]).reshape(shape)
        corpus = read(write(file(samples, values)), dataset="mosi")
        assert corpus.splits["train"].arrays["label"].tolist() == [-3, 0, 0.5, 1]
        assert not corpus.notes


@files
def test_moseis_sentiment_and_emotions(file, samples, write):
    corpus = read(write(file(samples, EMOTIONS[:, None])), dataset="mosei")
    assert corpus.splits["train"].arrays["label"].tolist() == [-1.5, 3, 0, 1]
    (note,) = corpus.notes
    assert note.startswith("the label is the sentiment, the first of 7 columns: train")
    path = write(file(samples, EMOTIONS[:, None]))
    for i, name in enumerate(MOSEI_EMOTIONS, 1):
        corpus = read(path, dataset=f"mosei_{name}")
        label = corpus.splits["train"].arrays["label"]
        assert label.dtype == np.int32
        assert label.tolist() == (EMOTIONS[:, i] > 0).astype(int).tolist()
        assert f'the emotion "{name}"' in corpus.notes[0]


@files
def test_one_hot_classes(file, samples, write):
    for values in (two_way(), np.eye(4)[HOT]):
        corpus = read(write(file(samples, values)), dataset="iemocap4")
        assert corpus.splits["train"].arrays["label"].tolist() == HOT.tolist()
        assert "one-hot, taken as neutral, happy, sad, angry" in corpus.notes[0]


def test_one_hot_rows_are_no_sentiment():
    """Of MELD's seven emotions one is present in each row; a sentiment is another number."""
    hot = np.eye(7)[HOT]
    assert labels.dataset_of(hot[:, None]) == "meld"
    assert labels.dataset_of(EMOTIONS) == labels.dataset_of(hot * 2) == "mosei"
    assert labels.dataset_of(HOT) == labels.dataset_of(HOT[:, None] > 0) == ""
    for dataset in ("mosi", "mosei", "mosei_sad"):
        with pytest.raises(DataError, match="one-hot of MELD.*dataset=meld"):
            labels.one_per_row(hot, name="label", dataset=dataset)
    taken = labels.one_per_row(hot, name="label", dataset="meld").values
    assert taken.tolist() == HOT.tolist()


@pytest.mark.parametrize("dataset", ["mosi", "mosei", "iemocap4"])
def test_labels_without_columns(dataset):
    with pytest.raises(DataError, match=r"array \[10, 0\]: it has no labels; expected"):
        labels.one_per_row(np.zeros((10, 0)), name="label", dataset=dataset)


def test_several_classes_or_none_are_counted():
    values = np.eye(4)[HOT]
    values[0, 0], values[2] = 1, 0
    with pytest.raises(DataError, match="2 of 4 rows have several classes or none"):
        labels.one_per_row(values, name="label", dataset="iemocap4")
    with pytest.raises(DataError, match="emotions that are not finite"):
        labels.one_per_row(EMOTIONS * np.nan, name="label", dataset="mosei_sad")


@files
def test_a_row_with_two_ones_is_named(file, samples, write):
    """Of two-way pairs as in MulT's file: two emotions, or a pair of two ones or none."""
    for pair, message in (
        ((0, 1), "several classes or none"),
        ((1, 1), "a pair that is not one 0 and one 1"),
        ((0, 0), "a pair that is not one 0 and one 1"),
    ):
        values = two_way()
        values[2, 0] = pair
        path = write(file(samples, values))
        with pytest.raises(DataError, match=message) as found:
            read(path, dataset="iemocap4")
        first = read(write(file(samples, two_way())), dataset="iemocap4")
        assert f"1 of 4 rows have {message}" in str(found.value)
        assert f': "{first.splits["train"].ids[2]}"; ' in str(found.value)
    many = np.ones((9, 4))
    with pytest.raises(DataError, match='9 of 9 rows.*: "0", "1", "2" and 6 more;'):
        labels.one_per_row(many, name="label", dataset="iemocap4")


def test_rows_of_other_shapes(samples, write):
    data = as_mag(samples, list(EMOTIONS))
    data["train"][1] = (data["train"][1][0], np.ones(2), "x")
    with pytest.raises(
        DataError, match=r"label has rows of the shapes \[7\] and \[2\]"
    ):
        read(write(data), dataset="mosei")


def test_names_of_classes(samples, write):
    names = np.array([" Happy", "sad", "NEUTRAL", "excited"])
    corpus = read(write(as_npz(samples, names)), dataset="iemocap")
    assert corpus.splits["train"].arrays["label"].tolist() == [0, 1, 2, 4]
    with pytest.raises(DataError, match='class "excited" in 1 of 4 rows. Known: angry'):
        read(write(as_npz(samples, names)), dataset="iemocap4")
    message = r"label.* holds ' Happy', expected numbers.*=iemocap \(of a tool: --data"
    with pytest.raises(DataError, match=message):
        read(write(as_npz(samples, names)), dataset="mosi")
    with pytest.raises(DataError, match="dataset=sims_classes"):
        labels.one_per_row(np.array(["Neutral"]), name="x", dataset="sims")
    with pytest.raises(DataError, match=r"x has no class in 1 of 2 rows. Known"):
        labels.one_per_row(np.array(["", "sad"]), name="x", dataset="iemocap")


def test_the_five_classes_of_ch_sims_v2(samples, write):
    rows = ["Weakly Negative", "Negative", " weakly positive", "Neutral"]
    data = as_mmsa(samples, np.zeros(4))
    for entry in data.values():
        entry["annotations"] = rows[: len(entry["id"])]
        del entry["classification_labels"]
    corpus = read(write(data), dataset="simsv2_classes")
    assert corpus.splits["train"].arrays["label"].tolist() == [0, 0, 2, 1]
    assert corpus.notes == (
        'the label is "weakly negative" and "weakly positive", taken as negative and '
        "positive: 2 rows of train, 2 rows of valid, 2 rows of test",
    )
    with pytest.raises(DataError, match='unknown class "weakly negative" in 1 of 4'):
        labels.one_per_row(np.array(rows), name="x", dataset="iemocap")


@pytest.mark.parametrize("dataset", ["mosi", "iemocap4"])
def test_advice_does_not_name_the_dataset_that_is_set(dataset):
    refused = "=iemocap4 .* one-hot, .*these are not: save the class of each row"
    message = refused if dataset == "mosi" else "0 and 1: save the class of each"
    for values in (np.full((3, 4), 0.3), np.zeros((3, 4, 2))):
        with pytest.raises(DataError, match=message):
            labels.one_per_row(values, name="x", dataset=dataset)
    with pytest.raises(DataError, match=r"\[3, 4\] of names, expected one a row"):
        labels.one_per_row(np.full((3, 4), "sad"), name="x", dataset=dataset)


def as_gbk(names):
    return [name.encode("gbk") for name in names]


@pytest.mark.parametrize("file", [as_mmsa, as_mult, as_mag, as_npz])
def test_names_of_classes_in_a_named_encoding(file, samples, write):
    # The names that the datasets have are ASCII; what is wrong must be readable.
    names = as_gbk(["消极的情绪", "消极的情绪", "积极的情绪", "中性的情绪"])
    values = np.array(names) if file is as_npz else names
    path = write(file(samples, values))
    if file is as_mmsa:
        data = as_mmsa(samples, values)
        for entry in data.values():
            del entry["classification_labels"], entry["annotations"]
        path = write(data)
    with pytest.raises(DataError, match='the unknown class "消极的情绪" in 2 of'):
        read(path, dataset="sims_classes", encoding="gbk")
    with pytest.raises(DataError, match="is no UTF-8 text; its encoding is likely gbk"):
        read(path, dataset="sims_classes")


def classes_of(data, *, keep=("classification_labels", "annotations")):
    for entry in data.values():
        rows = len(entry["id"])
        del entry["regression_labels"]
        entry["classification_labels"] = np.arange(rows) % 3
        entry["annotations"] = ["Positive", "Negative", "neutral"] * 2
        entry["annotations"] = entry["annotations"][:rows]
        for key in {"classification_labels", "annotations"} - set(keep):
            del entry[key]
    return data


@pytest.mark.parametrize("dataset", ["mosi", "mosei", "sims", "simsv2"])
def test_classes_of_an_mmsa_file(dataset, samples, write):
    path = write(classes_of(samples.mmsa_data()))
    with pytest.raises(DataError, match=f"config.data.dataset={dataset}_classes"):
        read(path, dataset=dataset)
    corpus = read(path, dataset=f"{dataset}_classes")
    assert corpus.splits["train"].arrays["label"].tolist() == [0, 1, 2, 0]
    named = write(classes_of(samples.mmsa_data(), keep=("annotations",)))
    corpus = read(named, dataset=f"{dataset}_classes")
    assert corpus.splits["train"].arrays["label"].tolist() == [2, 0, 1, 2]
    assert DATASETS[f"{dataset}_classes"].classes[2] == "positive"


def test_names_of_classes_without_scores(samples, write):
    """As under regression_labels, the advice is a dataset that has these names."""
    data = classes_of(samples.mmsa_data(), keep=("annotations",))
    for entry in data.values():
        entry["annotations"] = ["Happy", "sad", "neutral", "angry"][: len(entry["id"])]
    for dataset in ("mosi", "mosei", "sims"):
        with pytest.raises(DataError, match=r"annotations: .*dataset=iemocap "):
            read(write(data), dataset=dataset)


def scores_alone(samples, values):
    data = as_mmsa(samples, values)
    for entry in data.values():
        del entry["classification_labels"], entry["annotations"]
    return data


def test_regression_labels_under_a_dataset_of_classes(samples, write):
    """Whole numbers can be classes or scores; other shapes say what they are."""

    def refused(values, dataset, message):
        with pytest.raises(DataError, match=message):
            read(write(scores_alone(samples, np.array(values))), dataset=dataset)

    whole = r"numbers from 0 to 5; if .* save them as classification_labels \(0 happy, "
    refused([0, 5, 2, 1], "iemocap", whole + ".*if they are scores, set")
    refused(
        [0.5, -2, 2, 1], "iemocap", r"from -2 to 2; set --config.data.dataset=mosi "
    )
    refused(
        [0.5, 0, 0, 1], "simsv2_classes", r"to 1; set --config.data.dataset=simsv2 "
    )
    refused([np.nan] * 4, "mosei_sad", r"not finite; set --config.data.dataset=mosei ")
    for values, dataset, expected in (
        (two_way(), "iemocap4", HOT.tolist()),
        (EMOTIONS[:, None], "mosei_happy", [0, 1, 0, 1]),
        (np.array(["sad", "happy", "sad", "sad"]), "iemocap", [1, 0, 1, 1]),
    ):
        corpus = read(write(scores_alone(samples, values)), dataset=dataset)
        assert corpus.splits["train"].arrays["label"].tolist() == expected


def test_classes_that_a_file_lacks(samples, write):
    data = samples.mmsa_data()
    for entry in data.values():
        del entry["classification_labels"], entry["annotations"]
    with pytest.raises(
        DataError, match="of classes, but the file has regression_labels"
    ):
        read(write(data), dataset="sims_classes")
    assert (
        "label"
        not in read(write(data), dataset="sims_classes", labels=False)
        .splits["train"]
        .arrays
    )


def test_annotations_of_a_label_csv(samples, write):
    corpus = read(write(samples.label_csv()), dataset="sims_classes")
    assert corpus.splits["train"].arrays["label"].tolist() == [1, 1, 1, 1]
    assert corpus.splits["train"].arrays["label"].dtype == np.int32
