import time

import numpy as np
import pytest

from msajax.data import demo
from msajax.data.spec import DATASETS, FIELDS, MODALITIES

SHA256 = "e3058ab81cf9ae9f41534a3ffafdeb8f74fbc3268736d403ed89f0a7ff0be360"
# The docstring's figures.
BEST = {MODALITIES: 0.93, ("text",): 0.62, ("audio",): 0.61, ("vision",): 0.55}


@pytest.fixture(scope="module")
def corpus():
    return demo.generate()


@pytest.fixture(scope="module")
def drawn():
    return demo.latents(np.random.default_rng(0), 400_000)


def together(corpus, field):
    return np.concatenate([s.arrays[field] for s in corpus.splits.values()])


def test_a_seed_gives_the_same_bits(corpus):
    assert corpus.sha256 == demo.generate(0).sha256 == SHA256
    assert demo.generate(1).sha256 != SHA256


def test_a_split_does_not_depend_on_the_size_of_another(corpus):
    other = demo.generate(num=(10, 150, 20)).splits["valid"]
    for name, values in corpus.splits["valid"].arrays.items():
        np.testing.assert_array_equal(other.arrays[name], values)


def test_weak_clips_are_a_share_whose_audio_and_vision_change(corpus):
    made = demo.generate(weak=0.5)
    assert made.sha256 not in (SHA256, demo.generate(weak=0.4).sha256)
    assert made.sha256 == demo.generate(weak=0.5).sha256
    found = together(made, "label"), together(made, "text")
    for values, name in zip(found, ("label", "text"), strict=True):
        np.testing.assert_array_equal(values, together(corpus, name))
    moved = {
        m: np.any(together(made, m) != together(corpus, m), axis=(1, 2))
        for m in ("audio", "vision")
    }
    either = moved["audio"] | moved["vision"]
    # A clip stays that lacks the modality, or whose donor does.
    assert 0.48 < either.mean() <= 0.5
    both = moved["audio"] & moved["vision"]  # out of time, or noisy
    assert both.sum() / either.sum() == pytest.approx(2 / 3, abs=0.06)
    for m in ("audio", "vision"):
        masks = together(made, f"{m}_mask"), together(corpus, f"{m}_mask")
        np.testing.assert_array_equal(masks[0].any(axis=1), masks[1].any(axis=1))
        other = (masks[0] != masks[1]).any(axis=1)
        assert (other <= moved[m] & ~both).all() and other.sum() > 20
        assert (together(made, m)[~masks[0]] == 0).all()


def test_it_takes_less_than_a_second():
    start = time.process_time()
    demo.generate(3)
    assert time.process_time() - start < 1


def test_shapes_dtypes_and_padding(corpus):
    assert corpus.dataset == "demo" and list(corpus.splits) == [
        "train",
        "valid",
        "test",
    ]
    assert [len(split) for split in corpus.splits.values()] == [600, 150, 150]
    for split in corpus.splits.values():
        for name, values in split.arrays.items():
            assert values.dtype == FIELDS[name].dtype, name
            assert values.ndim == 1 + len(FIELDS[name].shape), name
            assert len(values) == len(split.ids) == len(split.raw_text), name
        for number, name in enumerate(MODALITIES):
            values, mask = split.arrays[name], split.arrays[f"{name}_mask"]
            assert values.shape[1:] == (demo.LENGTHS[number], demo.DIMS[number])
            assert mask.shape == values.shape[:2]
            np.testing.assert_array_equal(np.sort(mask, axis=1)[:, ::-1], mask)
            assert np.isfinite(values).all() and (values[~mask] == 0).all()
            assert (np.abs(values[mask]).max(axis=-1) > 0).all()


def test_lengths_vary_and_fill_the_padded_length(corpus):
    for name, padded in zip(MODALITIES, demo.LENGTHS, strict=True):
        steps = together(corpus, f"{name}_mask").sum(axis=1)
        assert padded / 2 < steps[steps > 0].mean() < 0.8 * padded
        assert len(np.unique(steps)) > padded / 2 and steps.max() >= 0.9 * padded


def test_ids_are_unique(corpus):
    ids = np.concatenate([split.ids for split in corpus.splits.values()])
    assert len(np.unique(ids)) == 900


def test_labels_are_means_of_five_annotators_in_the_range(corpus):
    low, high = DATASETS["demo"].label_range or ()
    for name in ("label", *[f"label_{modality}" for modality in MODALITIES]):
        label = together(corpus, name)
        assert label.min() == low and label.max() == high
        np.testing.assert_allclose(label * 5, np.rint(label * 5), atol=1e-5)
    assert 20 < np.sum(together(corpus, "label") == 0) < 70


def test_the_text_reads_as_its_label(corpus):
    split = corpus.splits["train"]
    words = [text.split() for text in split.raw_text]
    assert [len(w) for w in words] == split.arrays["text_mask"].sum(axis=1).tolist()
    assert split.raw_text[0] == "honestly this movie was slow and we saw it on friday"
    own = split.arrays["label_text"]
    for phrase, low, high in (
        *(("wonderful", 1, 3), ("terrible", -3, -1), ("not good", -2, 0)),
        *(("not boring", 1, 3), ("very good", 1, 3), ("set in chicago", -1, 1)),
    ):
        found = np.array([phrase in text for text in split.raw_text])
        assert found.any() and low <= own[found].min() <= own[found].max() <= high


def test_a_missing_modality_leaves_no_trace(corpus):
    lost = {name: ~together(corpus, f"{name}_mask").any(axis=1) for name in MODALITIES}
    assert sum(lost.values()).max() == 1
    for name, rows in lost.items():
        assert 5 < rows.sum() < 35
        assert (together(corpus, name)[rows] == 0).all()
        assert (together(corpus, f"label_{name}")[rows] == 0).all()
    texts = np.concatenate([split.raw_text for split in corpus.splits.values()])
    np.testing.assert_array_equal(texts == "", lost["text"])


def test_stated_shares_of_sarcasm_and_missing_modalities(drawn):
    assert drawn.sarcastic.mean() == pytest.approx(0.06, abs=0.005)
    assert (~drawn.present).any(axis=1).mean() == pytest.approx(0.06, abs=0.005)
    signs = np.sign(drawn.shown[drawn.sarcastic])
    np.testing.assert_array_equal(signs[:, 1], signs[:, 2])
    np.testing.assert_array_equal(signs[:, 0], -signs[:, 1])
    sincere = ~drawn.sarcastic
    np.testing.assert_array_equal(drawn.shown[sincere], drawn.levels[sincere])


@pytest.mark.parametrize(("modalities", "stated"), BEST.items(), ids=str)
def test_stated_best_correlation(drawn, modalities, stated):
    """The mean label of those who show the same is Bayes-optimal."""
    seen = np.where(drawn.present, drawn.shown + 4, 0)  # 0 to 7 by modality
    columns = [MODALITIES.index(name) for name in modalities]
    cell = seen[:, columns] @ 8 ** np.arange(len(columns))
    fitted, held_out = np.split(np.arange(len(cell)), 2)
    total = np.bincount(cell[fitted], drawn.label[fitted], minlength=512)
    count = np.bincount(cell[fitted], minlength=512)
    estimate = (total / np.maximum(count, 1))[cell[held_out]]
    assert correlation(estimate, drawn.label[held_out]) == pytest.approx(
        stated, abs=0.005
    )


def test_stated_best_linear_correlation(drawn):
    shown = np.where(drawn.present, drawn.shown, 0).astype(float)
    estimate = shown @ np.linalg.lstsq(shown, drawn.label, rcond=None)[0]
    assert correlation(estimate, drawn.label) == pytest.approx(0.90, abs=0.01)


def test_three_modalities_beat_each_single_one(corpus):
    """Ridge regression on averages over time, the weakest system there is."""
    scores = {modalities: pooled_ridge(corpus, modalities) for modalities in BEST}
    assert scores[MODALITIES] > 0.75
    for name in MODALITIES:
        assert 0.4 < scores[(name,)] < BEST[(name,)] + 0.05
        assert scores[MODALITIES] > scores[(name,)] + 0.15


def test_another_seed_is_the_same_world(corpus):
    other = demo.generate(7)
    assert pooled_ridge(corpus, MODALITIES, other.splits["test"]) > 0.75


def test_sequences_show_what_averages_lose():
    """Pitch at the stressed word against the speaker's own, smile against the face at rest."""
    split = demo.generate(num=(2000, 1, 1)).splits["train"]
    world = demo._world()
    pitch, loudness, timbre = tracks(split, "audio", world.audio)
    stress = loudness > 1
    relative = np.ma.mean(np.ma.array(pitch, mask=~stress), axis=1) - np.ma.mean(
        np.ma.array(pitch, mask=stress | pitch.mask), axis=1
    )
    smile, frown, _ = tracks(split, "vision", world.vision)
    apex = np.ma.max(smile, axis=1) - np.ma.max(frown, axis=1)
    for modality, pooled, sequential in (
        ("audio", timbre.mean(axis=1), relative),
        ("vision", smile.mean(axis=1) - frown.mean(axis=1), apex),
    ):
        seen = split.arrays[f"{modality}_mask"].any(axis=1)
        own = split.arrays[f"label_{modality}"][seen]
        lost = correlation(sequential[seen], own) - correlation(pooled[seen], own)
        assert lost > 0.03, modality


def tracks(split, modality, mixture):
    """The mixed tracks, masked: a list of [N, L]."""
    unmixed = split.arrays[modality] @ np.linalg.pinv(mixture)
    hidden = ~split.arrays[f"{modality}_mask"]
    return [np.ma.array(track, mask=hidden) for track in np.moveaxis(unmixed, -1, 0)]


def pooled_ridge(corpus, modalities, test=None):
    """Test correlation of a ridge regression on the mean over real steps."""
    splits = corpus.splits["train"], test or corpus.splits["test"]
    x, unseen = (
        np.concatenate([pooled(split, name) for name in modalities], axis=1)
        for split in splits
    )
    y, truth = (split.arrays["label"] for split in splits)
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    return correlation(unseen @ weights, truth)


def pooled(split, modality):
    """[N, D + 1]: mean over real steps, and whether there are any."""
    mask = split.arrays[f"{modality}_mask"]
    steps = mask.sum(axis=1, keepdims=True)
    mean = split.arrays[modality].sum(axis=1) / np.maximum(steps, 1)
    return np.concatenate([mean, steps > 0], axis=1)


def correlation(x, y):
    return np.corrcoef(x, y)[0, 1]
