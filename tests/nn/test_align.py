import numpy as np
import pytest

from msajax.nn.align import align, to_text


def by_hand(x, steps):
    """MMSA's pooling of one sequence [n, D] to a number of steps."""
    pool = -(-len(x) // steps)
    x = np.concatenate([x, np.repeat(x[-1:], pool * steps - len(x), axis=0)])
    return x.reshape(steps, pool, -1).mean(1)


@pytest.mark.parametrize(
    "length,steps", [(12, 4), (13, 4), (9, 8), (3, 5), (5, 5), (1, 3)]
)
def test_whole_sequences(length, steps):
    x = np.random.default_rng(0).normal(size=(2, length, 3)).astype(np.float32)
    y, real = align(x, np.ones((2, length), bool), np.ones((2, steps), bool))
    np.testing.assert_allclose(y, [by_hand(row, steps) for row in x], atol=1e-6)
    assert np.all(real)


def test_each_sample_by_its_own_lengths():
    lengths, steps = np.array([9, 4, 7, 1]), np.array([5, 5, 2, 3])
    x = np.random.default_rng(1).normal(size=(4, 9, 3)).astype(np.float32)
    mask = np.arange(9)[None] < lengths[:, None]
    target = np.arange(6)[None] < steps[:, None]
    y, real = align(x, mask, target)
    np.testing.assert_array_equal(real, target)
    for row in range(4):
        want = by_hand(x[row, : lengths[row]], steps[row])
        np.testing.assert_allclose(y[row, : steps[row]], want, atol=1e-6)
        np.testing.assert_array_equal(y[row, steps[row] :], 0)


def test_missing_source_and_missing_target():
    x = np.random.default_rng(2).normal(size=(2, 4, 3)).astype(np.float32)
    mask = np.array([[False] * 4, [True, True, True, False]])
    target = np.array([[True, True], [False, False]])
    y, real = align(x, mask, target)
    np.testing.assert_array_equal(real, [[False, False], [True, False]])
    np.testing.assert_array_equal(y[0], 0)
    np.testing.assert_allclose(y[1, 0], x[1, :3].mean(0), atol=1e-6)


def test_audio_belongs_to_the_utterance_and_not_to_its_neighbours():
    own = np.array([[True, False, False, True, True, False, True]])
    x = np.arange(1.0, 9).reshape(1, 4, 2).astype(np.float32)
    batch = {"text_mask": own | True, "text_own": own}
    batch |= {m: x for m in ("audio", "vision")}
    batch |= {f"{m}_mask": np.ones((1, 4), bool) for m in ("audio", "vision")}
    (audio, mask), _ = to_text(batch, (7, 4, 4), pool=True)
    np.testing.assert_allclose(audio[0, own[0]], x[0], atol=1e-6)
    assert not audio[0, ~own[0]].any() and (mask == own).all()
    batch["audio_mask"] = np.array([[True, False, False, False]])
    _, mask = to_text(batch, (7, 4, 4), pool=True)[0]
    alone, _ = to_text({**batch, "text_own": own | True}, (7, 4, 4), pool=True)
    assert mask.sum() == 4 and alone[1].sum() == 7


def test_rows_of_pieces_stand_at_the_utterances_own():
    own = np.array([[True, False, False, True, True, False, True], [False] * 7])
    x = np.arange(1.0, 13).reshape(2, 6, 1).astype(np.float32)
    real = np.array([[True, False, True, True, True, False], [True] * 6])
    batch = {"text_mask": own | True, "text_own": own}
    batch |= {"audio": x, "audio_mask": real, "vision": x, "vision_mask": ~real}
    (audio, mask), (_, other) = to_text(batch, (7, 6, 6), pool=False)
    assert audio[..., 0].tolist() == [[1, 0, 0, 0, 3, 0, 4], [0] * 7]
    assert (
        mask[0, own[0]].tolist() == real[0, :4].tolist() and not mask[0, ~own[0]].any()
    )
    assert other[0].tolist() == [False] * 3 + [True] + [False] * 3
    assert mask.dtype == bool and not mask[1].any()
