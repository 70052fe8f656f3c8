import json

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from msajax import metrics

# Names in the golden case -> ours; the last two exist only in ch-sims-v2.
REFERENCE_NAMES = {
    "mosi": {
        "mae": "MAE",
        "corr": "Corr",
        "acc7": "Mult_acc_7",
        "acc5": "Mult_acc_5",
        "acc2_has0": "Has0_acc_2",
        "f1_has0": "Has0_F1_score",
        "acc2_non0": "Non0_acc_2",
        "f1_non0": "Non0_F1_score",
    },
    "sims": {
        "mae": "MAE",
        "corr": "Corr",
        "acc2": "Mult_acc_2",
        "f1": "F1_score",
        "acc3": "Mult_acc_3",
        "acc5": "Mult_acc_5",
        "acc2_weak": "Mult_acc_2_weak",
        "r2": "R_squre",
    },
}
# Bin edges, rounding ties, signed zeros and values on both sides of the range.
EDGES = (0.0, -0.0, 0.1, -0.1, 0.4, 0.5, -0.5, 0.7, -0.7, 1.0, -1.0, 1.5, 2.5, -2.5, 4)
SENTIMENT = st.one_of(
    st.sampled_from([float(np.float32(edge)) for edge in EDGES]),
    st.floats(-5, 5, width=32),
)


def vectors(elements=SENTIMENT, dtype=np.float32):
    """Pairs of [N] arrays, N from 1 to 30."""
    return st.integers(1, 30).flatmap(
        lambda size: st.tuples(*[hnp.arrays(dtype, size, elements=elements)] * 2)
    )


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "golden" / "metrics" / "case_a"
    arrays = np.load(folder / "arrays.npz", allow_pickle=False)
    return json.loads((folder / "case.json").read_text())["expected"], arrays


@pytest.mark.parametrize(
    ("evaluator", "family", "tolerance"),
    [
        ("mmsa_mosi", "mosi", 5.1e-5),  # rounded to four decimals
        ("mmsa_mosi_unrounded", "mosi", 1e-6),
        ("mmsa_sims", "sims", 5.1e-5),
        ("mmsa_sims_unrounded", "sims", 1e-6),
        ("chsims2_sims", "sims", 1e-6),
    ],
)
def test_the_numbers_of_the_references(golden, evaluator, family, tolerance):
    expected, arrays = golden
    assert len(expected[evaluator]) == 5
    for vector, values in expected[evaluator].items():
        ours = metrics.evaluate(
            family,
            arrays[f"in/{family}/{vector}/pred"],
            arrays[f"in/{family}/{vector}/label"],
        )
        theirs = REFERENCE_NAMES[family]
        shared = [name for name in ours if theirs.get(name) in values]
        assert len(shared) == len(values), vector
        for name in shared:
            value = values[theirs[name]]
            value = np.nan if value is None else value
            np.testing.assert_allclose(
                ours[name], value, rtol=0, atol=tolerance, err_msg=f"{vector} {name}"
            )


def test_mfons_open_edges_are_not_followed(golden):
    expected, arrays = golden
    vector = "2_ties_at_bin_edges"
    ours = metrics.evaluate(
        "sims", arrays[f"in/sims/{vector}/pred"], arrays[f"in/sims/{vector}/label"]
    )
    assert ours["acc5"] == expected["mmsa_sims_unrounded"][vector]["Mult_acc_5"]
    assert ours["acc5"] != expected["mfon_sims_unrounded"][vector]["Mult_acc_5"]


def test_mosi_by_hand():
    label = [-3, -2.4, -1.5, -0.5, 0, 0.2, 0.5, 1.5, 2.5, 3]
    pred = [-3.6, -2.5, -0.4, 0.1, -0.2, 0.5, -0.1, 1.6, 1.4, 2.6]
    values = metrics.evaluate("mosi", pred, label)
    expected = {
        "mae": 0.51,
        "corr": 0.94531293,
        "acc7": 0.8,
        "acc5": 0.8,
        "acc3": 0.9,
        "acc2_has0": 0.7,
        "f1_has0": 0.7030303,
        "acc2_non0": 7 / 9,
        "f1_non0": 7 / 9,
    }
    assert tuple(values) == tuple(expected) == metrics.METRICS["mosi"]
    assert values == pytest.approx(expected, abs=1e-7)


def test_sims_by_hand():
    label = [-1, -0.8, -0.6, -0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]
    pred = [-1.3, -0.6, -0.75, 0.05, -0.05, 0, 0.3, -0.1, 0.75, 0.65, 0.9]
    values = metrics.evaluate("sims", pred, label)
    expected = {
        "mae": 0.17727272,
        "corr": 0.92926830,
        "acc2": 9 / 11,
        "f1": 9 / 11,
        "acc3": 8 / 11,
        "acc5": 4 / 11,
        "acc2_weak": 0.6,
        "r2": 0.8630682,
    }
    assert tuple(values) == tuple(expected) == metrics.METRICS["sims"]
    assert values == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("family", ["mosi", "sims"])
def test_the_class_of_a_score_is_that_of_acc3(family):
    scores = np.float32([-2, -0.6, -0.5, -0.1, -0.05, 0, 0.1, 0.11, 0.5, 0.51, 1, 3])
    names = np.array([metrics.polarity(family, x) for x in scores])
    assert names[0] == "negative" and names[5] == "neutral" and names[-1] == "positive"
    for a, first in zip(scores, names, strict=True):
        for b, second in zip(scores, names, strict=True):
            found = metrics.evaluate(family, np.float32([a]), np.float32([b]))
            assert (found["acc3"] == 1) == (first == second), (a, b)


def test_classes_by_hand():
    logits = np.eye(3)[[0, 0, 1, 1, 2, 0]]
    values = metrics.evaluate(
        "classes", logits, [0, 0, 1, 2, 2, 1], classes=("neutral", "joy", "anger")
    )
    # tp, predicted, true: neutral 2, 3, 2; joy 1, 2, 2; anger 1, 1, 2
    expected = {
        "accuracy": 4 / 6,
        "weighted_f1": (4 / 5 + 2 / 4 + 2 / 3) / 3,
        "f1_neutral": 4 / 5,
        "f1_joy": 2 / 4,
        "f1_anger": 2 / 3,
    }
    assert list(values) == list(expected)
    assert values == pytest.approx(expected)


def test_emotions_as_mult_measures_them():
    """Each emotion alone, present or not: accuracy and weighted F1 of scikit-learn."""
    rng, names = np.random.default_rng(0), ("neutral", "happy", "sad")
    logits, label = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    values = metrics.evaluate("emotions", logits, label, classes=names)
    expected = dict(zip(("accuracy", "weighted_f1"), values.values(), strict=False))
    plain = metrics.evaluate("classes", logits, label, classes=names)
    assert expected == {key: plain[key] for key in expected}
    pairs = [_accuracy_f1(label == c, logits.argmax(1) == c) for c in range(3)]
    for i, kind in enumerate(("acc2", "weighted_f1")):
        expected |= {f"{kind}_{n}": x[i] for n, x in zip(names, pairs, strict=True)}
    assert list(values) == list(expected)
    assert list(values) == list(metrics.names("emotions", classes=names))
    assert values == pytest.approx(expected)
    assert {metrics.better(name) for name in values} == {"max"}


@hypothesis.given(vectors())
def test_mosi_against_scikit_learn_and_scipy(pair):
    pred, label = pair
    values = metrics.evaluate("mosi", pred, label)
    rounded = [
        _agreement(lambda x, top=top: _half_even(x, top), pair) for top in (3, 2, 1)
    ]
    has0 = _accuracy_f1(label >= 0, pred >= 0)
    kept = label != 0
    non0 = _accuracy_f1(label[kept] > 0, pred[kept] > 0)
    np.testing.assert_allclose(
        list(values.values()),
        [_mae(label, pred), _corr(label, pred), *rounded, *has0, *non0],
        atol=1e-6,
    )


@hypothesis.given(vectors())
def test_sims_against_scikit_learn_and_scipy(pair):
    pred, label = (np.clip(x, -1, 1) for x in pair)
    values = metrics.evaluate("sims", *pair)
    assert values["mae"] == pytest.approx(_mae(label, pred), abs=1e-6)
    assert values["corr"] == pytest.approx(_corr(label, pred), abs=1e-6, nan_ok=True)
    acc2_f1 = _accuracy_f1(label > 0, pred > 0)
    assert (values["acc2"], values["f1"]) == pytest.approx(acc2_f1)
    weak = (label >= -np.float32(0.4)) & (label <= np.float32(0.4))
    acc2_weak, _ = _accuracy_f1(label[weak] > 0, pred[weak] > 0)
    assert values["acc2_weak"] == pytest.approx(acc2_weak, nan_ok=True)
    for name, edges in (("acc3", (-0.1, 0.1)), ("acc5", (-0.7, -0.1, 0.1, 0.7))):
        binned = _agreement(lambda x, edges=edges: _bin(x, edges), (pred, label))
        assert values[name] == pytest.approx(binned)
    if np.ptp(label) == 0:
        assert np.isnan(values["r2"])
    else:
        expected = sklearn.metrics.r2_score(label.astype(float), pred.astype(float))
        assert values["r2"] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@hypothesis.given(vectors(st.integers(0, 3), np.int32))
def test_classes_against_scikit_learn(pair):
    chosen, label = pair
    classes = ("a", "b", "c", "d")
    values = metrics.evaluate("classes", np.eye(4)[chosen], label, classes=classes)
    accuracy, weighted = _accuracy_f1(label, chosen)
    per_class = sklearn.metrics.f1_score(
        label, chosen, labels=range(4), average=None, zero_division=0
    )
    np.testing.assert_allclose(list(values.values()), [accuracy, weighted, *per_class])


def _agreement(to_class, pair):
    pred, label = ([to_class(value) for value in values] for values in pair)
    return np.mean(np.equal(pred, label))


def _half_even(value, top):
    """Python's own round, which sends ties to the even neighbour."""
    return round(min(max(float(value), -top), top))


def _bin(value, edges):
    return sum(value > np.float32(edge) for edge in edges)


def _mae(label, pred):
    return sklearn.metrics.mean_absolute_error(label.astype(float), pred.astype(float))


def _corr(label, pred):
    if np.ptp(label) == 0 or np.ptp(pred) == 0:
        return np.nan
    return scipy.stats.pearsonr(label.astype(float), pred.astype(float)).statistic


def _accuracy_f1(label, pred):
    if len(label) == 0:
        return np.nan, np.nan
    f1 = sklearn.metrics.f1_score(label, pred, average="weighted", zero_division=0)
    return sklearn.metrics.accuracy_score(label, pred), f1


def test_what_is_undefined_is_nan_without_a_warning():
    values = metrics.evaluate("mosi", [0.7] * 20, [0.0] * 20)
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {"corr", "acc2_non0", "f1_non0"}
    values = metrics.evaluate("sims", [0.3, 0.6], [0.8, 0.8])
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {"corr", "acc2_weak", "r2"}


def test_values_are_python_floats():
    values = metrics.evaluate("mosi", np.float32([1, 2]), np.float32([1, 2]))
    assert {type(value) for value in values.values()} == {float}
    assert json.loads(json.dumps(values)) == values


@pytest.mark.parametrize(
    ("family", "pred", "label", "message"),
    [
        ("mosi", [[1.0]], [1.0], r"predictions must be \[N\] .* \(1, 1\) and \(1,\)"),
        ("mosi", [1.0, 2.0], [1.0], r"shapes \(2,\) and \(1,\)"),
        ("mosi", [], [], "got an empty split"),
        ("sims", [np.nan, 1, -np.inf], [0, 0, 0], "2 of 3 predictions are not finite"),
        ("sims", [0.0, 1.0], [0.0, np.nan], "1 of 2 labels are not finite"),
        ("classes", [1.0], [1], r"must be \[N, C\] with C = 2 classes"),
        ("classes", [[1, 2, 3]], [1], r"C = 2 classes .* \(1, 3\)"),
        ("classes", [[1, 2]] * 3, [1, 2, -1], r"0 to 1; got 2 \(2 of 3 labels"),
        ("mosei", [1.0], [1.0], 'unknown family of metrics "mosei". Known: mosi'),
    ],
)
def test_bad_input_is_named(family, pred, label, message):
    classes = ("a", "b") if family == "classes" else ()
    with pytest.raises(ValueError, match=message):
        metrics.evaluate(family, pred, label, classes=classes)


def test_names_are_the_keys_of_evaluate():
    assert metrics.names("sims") == metrics.METRICS["sims"]
    names = ("accuracy", "weighted_f1", "f1_joy", "f1_anger")
    assert metrics.names("classes", classes=("joy", "anger")) == names


def test_direction_of_every_metric():
    lower = {"loss", "mae"}
    for name in [*lower, *sum(metrics.METRICS.values(), ()), "f1_joy"]:
        assert metrics.better(name) == ("min" if name in lower else "max")
    with pytest.raises(ValueError, match='unknown metric "MAE". Known: loss, acc2,'):
        metrics.better("MAE")


def test_better_values_and_nan():
    values, best = [1.0, 2.0, 2.0, np.nan, 3.0, np.nan], [2, 1, 2, 1, np.nan, np.nan]
    expected = {
        "mae": [True, False, False, False, True, False],
        "corr": [False, True, False, False, True, False],
    }
    for name, wanted in expected.items():
        assert metrics.improves(name, values, best).tolist() == wanted
    assert metrics.improves("loss", 0.1, 0.2)
