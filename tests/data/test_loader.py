"""Batches: every row once, the same batch for the same position, shapes of the spec."""

import dataclasses

import numpy as np
import pytest

from msajax.data import loader
from msajax.data.spec import Split
from tests import toys


def with_arrays(corpus, **changes):
    """The corpus with some arrays of every split replaced (None: removed)."""
    splits = {}
    for name, split in corpus.splits.items():
        arrays = dict(split.arrays)
        for key, change in changes.items():
            value = change(arrays[key]) if change else None
            arrays = {k: v for k, v in arrays.items() if k != key}
            arrays |= {} if value is None else {key: value}
        splits[name] = Split(split.ids, split.raw_text, arrays)
    return dataclasses.replace(corpus, splits=splits)


def test_an_epoch_has_every_row_once():
    rows, part = loader.epoch_batches([22], 4, order=(1, 0, 0, 0))
    assert (part == 0).all()
    assert rows.shape == (6, 4) and rows.dtype == np.int32
    assert sorted(rows[rows >= 0]) == list(range(22))
    assert (rows.ravel()[22:] == -1).all()


def test_a_batch_is_a_function_of_its_position():
    first = loader.epoch_batches([22], 4, order=(1, 0, 0, 0)).rows
    again = loader.epoch_batches([22], 4, order=(1, 0, 0, 0)).rows
    np.testing.assert_array_equal(first, again)
    for order in [(2, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]:
        assert (first != loader.epoch_batches([22], 4, order=order).rows).any()


def test_parts_are_mixed_alike_for_every_seed():
    sizes = [9, 8, 5]
    one = loader.epoch_batches(sizes, 4, order=(1, 0, 0, 0))
    two = loader.epoch_batches(sizes, 4, order=(2, 0, 0, 0))
    np.testing.assert_array_equal(one.part, two.part)
    assert (one.rows != two.rows).any() and (np.diff(one.part) < 0).any()
    assert sorted(one.part) == [0, 0, 0, 1, 1, 2, 2]
    for i, size in enumerate(sizes):
        rows = one.rows[one.part == i]
        assert sorted(rows[rows >= 0]) == list(range(size))
    other = loader.epoch_batches(sizes, 4, order=(1, 0, 0, 1))
    assert (one.part != other.part).any()


def rows_with_lengths(text, audio):
    """Arrays of rows with these numbers of steps; text counts upwards."""
    arrays = {}
    for name, lengths, longest in [("text", text, 6), ("audio", audio, 9)]:
        mask = np.arange(longest) < np.array(lengths)[:, None]
        arrays[name] = (mask * np.arange(1, longest + 1, dtype=np.float32))[..., None]
        arrays[f"{name}_mask"] = mask
    return {**arrays, "label": np.arange(len(text), dtype=np.float32)}


def test_padding_that_no_row_needs_is_cut():
    arrays = rows_with_lengths([2, 4, 1], [3, 0, 7])
    (part,) = loader.parts(arrays, 1)
    assert part["text"].shape == (3, 4, 1) and part["audio"].shape == (3, 7, 1)
    np.testing.assert_array_equal(part["text"], arrays["text"][:, :4])
    np.testing.assert_array_equal(part["audio_mask"], arrays["audio_mask"][:, :7])
    np.testing.assert_array_equal(part["index"], [0, 1, 2])
    (whole,) = loader.parts(arrays, 1, cut=False)
    np.testing.assert_array_equal(whole["audio"], arrays["audio"])


def test_parts_hold_rows_of_similar_lengths():
    arrays = rows_with_lengths([2, 4, 1, 6, 3], [3, 9, 2, 8, 1])
    short, long = loader.parts(arrays, 2)
    np.testing.assert_array_equal(short["index"], [0, 2, 4])
    np.testing.assert_array_equal(long["index"], [1, 3])
    assert short["text"].shape == (3, 3, 1) and short["audio"].shape == (3, 3, 1)
    assert long["text"].shape == (2, 6, 1) and long["audio"].shape == (2, 9, 1)
    for part in (short, long):
        np.testing.assert_array_equal(part["label"], part["index"])
        np.testing.assert_array_equal(
            part["text"].sum((1, 2)), arrays["text"][part["index"]].sum((1, 2))
        )


def test_a_row_without_a_step_keeps_one():
    (part,) = loader.parts(rows_with_lengths([0, 0], [1, 2]), 1)
    assert part["text"].shape == (2, 1, 1) and not part["text_mask"].any()


def test_evaluation_keeps_the_order_of_the_file():
    rows, part = loader.ordered_batches([5, 2], 2)
    np.testing.assert_array_equal(rows, [[0, 1], [2, 3], [4, -1], [0, 1]])
    np.testing.assert_array_equal(part, [0, 0, 0, 1])


def test_spec_comes_from_the_training_split():
    spec = loader.make_spec(toys.corpus(), dims=(3, 4, 5), lengths=(50, 50, 50))
    assert (spec.dims, spec.lengths, spec.num_train) == ((3, 4, 5), (5, 7, 6), 22)
    assert spec.label_range == (-3.0, 3.0)


def test_an_absent_modality_is_one_masked_step():
    corpus = with_arrays(toys.corpus(), vision=None, vision_mask=None)
    spec = loader.make_spec(corpus)
    assert (spec.dims[2], spec.lengths[2]) == (1, 1)
    assert spec.modalities == ("text", "audio")
    assert dataclasses.replace(spec, dims=(1, 4, 1)).modalities == ("text", "audio")
    assert toys.SPEC.modalities == ("text", "audio", "vision")
    arrays = loader.pad(corpus.splits["valid"], spec)
    assert arrays["vision"].shape == (8, 1, 1) and not arrays["vision_mask"].any()


def test_pad_keeps_values_and_masks():
    corpus = toys.corpus()
    spec = dataclasses.replace(toys.SPEC, lengths=(9, 7, 6))
    split = corpus.splits["test"]
    arrays = loader.pad(split, spec)
    assert arrays["text"].shape == (8, 9, 3)
    np.testing.assert_array_equal(arrays["text"][:, :5], split.arrays["text"])
    assert not arrays["text"][:, 5:].any() and not arrays["text_mask"][:, 5:].any()
    np.testing.assert_array_equal(arrays["label"], split.arrays["label"])


def test_truncation_is_asked_for():
    corpus = toys.corpus()
    with pytest.raises(
        ValueError,
        match="audio has sequences of up to 7 steps, but at most 6 are expected",
    ):
        loader.make_spec(corpus, lengths=(5, 6, 6))
    spec = loader.make_spec(corpus, lengths=(5, 6, 6), truncate=True)
    arrays = loader.pad(corpus.splits["test"], spec, truncate=True)
    np.testing.assert_array_equal(
        arrays["audio"], corpus.splits["test"].arrays["audio"][:, :6]
    )
    with pytest.raises(
        ValueError, match="audio has 7 steps, but the system was made for at most 6"
    ):
        loader.pad(corpus.splits["test"], spec)


@pytest.mark.parametrize("width,looks", [(74, "this looks like COVAREP"), (6, "")])
def test_wrong_widths_are_errors(width, looks):
    corpus = with_arrays(
        toys.corpus(), audio=lambda a: np.zeros((*a.shape[:2], width), np.float32)
    )
    message = f"audio has {width} features per step, but 4 are expected.*{looks}"
    with pytest.raises(ValueError, match=message):
        loader.make_spec(corpus, dims=(3, 4, 5))
    with pytest.raises(ValueError, match=message):
        loader.pad(corpus.splits["test"], toys.SPEC)


def test_all_that_does_not_fit_is_one_message():
    with pytest.raises(ValueError) as error:
        loader.make_spec(
            toys.corpus(), dims=(300, 4, 35), lengths=(5, 6, 3), batch_size=32
        )
    assert str(error.value) == (
        "text has 3 features per step, but 300 are expected; "
        "audio has sequences of up to 7 steps, but at most 6 are expected; "
        "vision has 5 features per step, but 35 are expected; "
        "vision has sequences of up to 6 steps, but at most 3 are expected; "
        "a batch has 32 rows, but the training split only 22; "
        "take the recipe of that dataset, or set --config.data.dims=3,4,5 "
        "--config.data.lengths=5,7,6 --config.train.batch_size=22; "
        "--config.data.truncate=True cuts longer sequences instead; "
        "a phase with a batch_size of its own has it in config.phases"
    )
    fitting = dict(dims=(3, 4, 5), lengths=(5, 7, 6), batch_size=22)
    assert loader.make_spec(toys.corpus(), **fitting).lengths == (5, 7, 6)
    with pytest.raises(ValueError, match="only 22; set --config.train.batch_size=22;"):
        loader.make_spec(toys.corpus(), batch_size=23)


def test_flags_keep_what_the_data_lacks():
    corpus = with_arrays(toys.corpus(), text=None, text_mask=None)
    with pytest.raises(ValueError, match="--config.data.dims=300,4,5$"):
        loader.make_spec(corpus, dims=(300, 4, 9))


def test_training_needs_rows_with_each_modality():
    corpus = with_arrays(toys.corpus(), vision_mask=np.zeros_like)
    with pytest.raises(ValueError, match="vision is missing in all 22 rows of the tr"):
        loader.make_spec(corpus)


def test_text_without_features_is_an_error():
    keys = [f"{m}{end}" for m in ("text", "audio", "vision") for end in ("", "_mask")]
    corpus = with_arrays(toys.corpus(), **dict.fromkeys(keys))
    with pytest.raises(ValueError, match="no feature arrays for text, audio or vision"):
        loader.make_spec(corpus)


def test_a_batch_larger_than_the_split_is_an_error():
    with pytest.raises(
        ValueError,
        match="batch_size is 23, but the split has only 22 rows; set it to 22 or less",
    ):
        loader.epoch_batches([22], 23, order=(1, 0, 0, 0))
