"""Figures of the numbers of runs, from a run of two epochs."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the report needs matplotlib: msajax[report]")

from msajax.data import demo
from msajax.data.spec import Split
from msajax.data.stored import StoredSequences
from msajax.main import main as train
from msajax.report import finished, papers, robust
from tests import small_encoders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lf_dnn"
    short = ("--config.train.seeds=1,2", "--config.train.epochs=2")
    args = ("--config", "lf_dnn:demo", "--workdir", str(folder), *short)
    assert train([*args, "--config.parallel.devices=1"]) == 0
    return finished.read(folder)


def drawn(name, read):
    (figure,) = papers.find([name])
    return figure.draw(read)


def on(run, *modalities):
    data = dataclasses.replace(run.options.data, modalities=modalities)
    return dataclasses.replace(run, options=dataclasses.replace(run.options, data=data))


def test_single_modalities(run):
    made = drawn("mfon_1", [on(run, "text"), on(run, "text", "audio")])
    assert list(made) == ["acc2_non0", "f1_non0"]
    (axis,) = made["acc2_non0"][0].axes
    assert [x.get_text() for x in axis.get_yticklabels()] == ["text", "text + audio"]
    assert axis.get_xlabel() == "Acc-2 non0 (%)"
    with pytest.raises(ValueError, match="needs runs on different modalities"):
        drawn("mfon_1", [run, run])
    results = dataclasses.replace(run.results, system="tfn")
    with pytest.raises(ValueError, match="compares modalities of one system"):
        drawn("mfon_1", [run, dataclasses.replace(run, results=results)])


def test_correlation_of_weights_and_metrics(run):
    weights = [(1.0, 0.2, 0.4, 0.8), (0.2, 0.4, 1.0, 0.6), (0.6, 1.0, 0.2, 0.2)]
    read = []
    for own in weights:  # MAE falls with the weight of M
        test = run.results.splits["test"] | {"mae": {"mean": 2 - own[0]}}
        model = {"weights": own}
        options = dataclasses.replace(run.options, system="iml_cmm", model=model)
        splits = {"test": test}
        results = dataclasses.replace(run.results, system="iml_cmm", splits=splits)
        read.append(dataclasses.replace(run, options=options, results=results))
    figure, caption = drawn("iml_cmm_6", read)["correlation"]
    values = figure.axes[0].images[0].get_array()
    assert values[0, 0] == pytest.approx(-1)
    by_v = np.corrcoef([w[3] for w in weights], [-w[0] for w in weights])[0, 1]
    assert values[0, 3] == pytest.approx(by_v)
    assert "over 3 runs" in caption
    with pytest.raises(ValueError, match="at least 3 runs whose weights"):
        drawn("iml_cmm_6", read[:2])


def test_losses_are_those_of_the_chosen_epoch(run):
    figure, _ = drawn("losses", [run])["valid_loss"]
    chosen = [min(r["valid_loss"] for r in rows) for rows in run.history.values()]
    (line,) = [x for x in figure.axes[0].lines if len(x.get_xdata()) == 1][:1]
    assert line.get_xdata()[0] == pytest.approx(np.mean(chosen))
    none = dataclasses.replace(run, history={1: []})
    with pytest.raises(ValueError, match="has no epochs: its weights were imported"):
        drawn("losses", [none])


def test_curves_begin_with_the_figure_of_the_run(run):
    for name, x in (("missing", "share of rows"), ("noise", "noise, in standard")):
        figure, _ = drawn(name, [run])["lf_dnn"]
        (axis,) = figure.axes
        assert axis.get_xlabel().startswith(x)
        assert [line.get_label() for line in axis.lines] == ["text", "audio", "vision"]
        for line in axis.lines:
            first, *later = line.get_ydata()
            assert first == pytest.approx(run.results["mae"], abs=1e-5)
            assert all(y != first for y in later)


def test_rows_lack_a_modality_and_features_are_noisy():
    rows = demo.generate(0).splits["test"]
    before = rows.arrays["audio"].copy()
    had = rows.arrays["audio_mask"].any(1)
    gone = [
        had & ~robust.missing(rows, "audio", share).arrays["audio_mask"].any(1)
        for share in (0.25, 0.5)
    ]
    for x, share in zip(gone, (0.25, 0.5), strict=True):  # few lack it anyway
        assert x.sum() == pytest.approx(share * len(rows), abs=2)
    assert (gone[0] <= gone[1]).all()
    noisy = robust.noisy(rows, "audio", 1.0).arrays["audio"]
    mask = rows.arrays["audio_mask"]
    assert not (noisy - before)[~mask].any() and noisy.dtype == before.dtype
    added = (noisy - before)[mask].std(0) / before[mask].std(0)
    assert added == pytest.approx(np.ones(before.shape[-1]), rel=0.2)
    np.testing.assert_array_equal(rows.arrays["audio"], before)


def rows_of_pieces():
    """A split of three texts in pieces, 1 and 2 their ends; the last has no words."""
    ids = np.array([[1, 5, 6, 2, 0], [1, 7, 8, 9, 2], [1, 2, 0, 0, 0]], np.int32)
    arrays = {"text_ids": ids, "text_type": ids * 0, "text_mask": ids > 0}
    arrays |= {"commonsense": np.ones((3, 1, 2), np.float32), "label": np.arange(3.0)}
    return Split(np.array(list("abc")), np.array(["x"] * 3), arrays)


def test_missing_text_of_an_encoder_is_its_row_without_words():
    rows = rows_of_pieces()
    ids = np.array([[1, 2, 0]], np.int32)
    blank = {"text_ids": ids, "text_type": ids * 0, "text_mask": ids > 0}
    found = robust.missing(rows, "text", 1.0, blank=blank).arrays
    assert found["text_ids"].tolist() == [[1, 2, 0, 0, 0]] * 3
    assert found["text_mask"].sum() == 6 and not found["commonsense"].any()
    assert found["label"].tolist() == [0, 1, 2] and found["text_ids"].dtype == np.int32
    none = robust.missing(rows, "text", 0.0, blank=blank).arrays
    np.testing.assert_array_equal(none["text_ids"], rows.arrays["text_ids"])
    # Words of a vocabulary: padding, as where a file has no text.
    assert not robust.missing(rows, "text", 1.0).arrays["text_ids"].any()


def test_pieces_are_replaced_by_those_of_other_places():
    rows = rows_of_pieces()
    before = rows.arrays["text_ids"]
    words, made = before >= 5, robust.replaced(rows, "text", 1.0).arrays["text_ids"]
    np.testing.assert_array_equal(made[~words], before[~words])
    assert set(made[words].tolist()) <= {5, 6, 7, 8, 9} and (made != before).any()
    part = robust.replaced(rows, "text", 0.4).arrays["text_ids"]
    assert 1 <= (part != before).sum() <= 2 and part.dtype == np.int32
    np.testing.assert_array_equal(
        robust.replaced(rows, "text", 0.0).arrays["text_ids"], before
    )


def test_sequences_in_a_store_are_changed_like_those_in_memory():
    rows = demo.generate(0, num=(4, 4, 9)).splits["test"]
    values = rows.arrays["audio"]

    class Source:
        def read(self, index, field, seen):
            return [{"audio": values}[field][i] for i in index]

    kept = StoredSequences(Source(), "audio", values.shape, values.dtype)
    stored = dataclasses.replace(rows, arrays={**rows.arrays, "audio": kept})
    for change, level in ((robust.missing, 0.5), (robust.noisy, 1.0)):
        expected = change(rows, "audio", level).arrays
        found = change(stored, "audio", level).arrays
        assert isinstance(found["audio"], StoredSequences)
        np.testing.assert_array_equal(found["audio"], expected["audio"])
        np.testing.assert_array_equal(found["audio_mask"], expected["audio_mask"])
        assert (expected["audio"] != values).any()
        order = np.array([3, 0])
        np.testing.assert_array_equal(found["audio"][order], expected["audio"][order])


def test_figures_of_a_run_whose_text_an_encoder_reads(tmp_path):
    texts = demo.generate(0, num=(50, 1, 1)).splits["train"].raw_text.tolist()
    small_encoders.bert(tmp_path / "bert", texts)
    folder = tmp_path / "text"
    encoder = (
        f"--config.text.encoder={tmp_path / 'bert'}",
        "--config.text.max_length=20",
    )
    short = ("--config.train.seeds=1", "--config.train.epochs=1")
    short += ("--config.data.modalities=text",)
    args = ("--config", "text_only:demo", "--workdir", str(folder), *encoder, *short)
    assert train([*args, "--config.parallel.devices=1"]) == 0
    read = [finished.read(folder)]
    made = drawn("msg_mba_6", read)
    layers = read[0].open().model.encoder.num_hidden_layers  # pyright: ignore
    wanted = dict.fromkeys(min(i, layers) for i in (2, 3, layers))
    assert list(made) == [f"layer{i}_case{case}" for i in wanted for case in (1, 2)]
    for figure, caption in made.values():
        weights = figure.axes[0].images[0].get_array()
        n = len(weights)
        assert weights.shape == (n, n) and 6 <= n <= 20
        # Each piece attends to all of its text, with its ends.
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
        assert "MSG/MBA, Fig. 6" in caption
    made = drawn("missing", read) | drawn("noise", read)
    assert list(made) == ["text", "text_text"]
    for figure, _ in made.values():
        (line,) = figure.axes[0].lines
        first, *later = line.get_ydata()
        assert first == pytest.approx(read[0].results["mae"], abs=1e-5)
        assert all(np.isfinite(later)) and first not in later


def test_attention_of_layers_needs_an_encoder(run):
    with pytest.raises(ValueError, match="has none; set config.text.encoder"):
        drawn("msg_mba_6", [run])
