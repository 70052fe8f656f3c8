"""Alignment of a sequence to the steps of another by average pooling.

The simulated word alignment of thuiar/MMSA (AlignSubNet, 'avg_pool'), which
aligned systems use on data that has no aligned file, such as CH-SIMS.
"""

import chex
import jax
import jax.numpy as jnp

from msajax.nn.masks import assert_steps, front, step_masks, to_places


def align(
    x: jax.Array, mask: jax.Array, target: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Pools n real steps to the m real steps of the target, in each sample by itself.

    Step i is the mean of the steps i p .. (i + 1) p - 1 of x, p = ceil(n / m);
    the last real step is repeated where these run out. A sample whose target
    has no real step (no text) is pooled to one. With masks that are all True
    this is MMSA's alignment of padded sequences.

    Args:
      x: [B, L, D] float32.
      mask: [B, L] bool, real steps of x.
      target: [B, T] bool, real steps to align to.

    Returns:
      The pooled sequence [B, T, D] and its real steps [B, T] bool.
    """
    assert_steps(x, mask)
    chex.assert_rank(target, 2)
    chex.assert_equal_shape_prefix([mask, target], 1)
    n = jnp.sum(mask, axis=1)[:, None, None]
    m = jnp.maximum(jnp.sum(target, axis=1), 1)[:, None, None]
    p = jnp.maximum(-(-n // m), 1)
    i = jnp.arange(target.shape[1])[None, :, None]
    j = jnp.arange(x.shape[1])[None, None, :]
    # Step j of x covers [j, j + 1), the last real one [n - 1, m p), those after
    # it nothing; what falls into window i is its weight there.
    end = jnp.where(j < n - 1, j + 1, jnp.where(j == n - 1, m * p, j))
    overlap = jnp.minimum((i + 1) * p, end) - jnp.maximum(i * p, j)
    weights = jnp.where(i < m, jnp.maximum(overlap, 0), 0).astype(jnp.float32)
    aligned = jnp.einsum("btl,bld->btd", weights, x.astype(jnp.float32)) / p
    real = (i < m) & (n > 0)
    return aligned.astype(x.dtype), real[..., 0]


def common_steps(
    batch: dict[str, jax.Array], *, aligned: bool, padded: bool
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Text, audio and vision with a step for each word.

    Args:
      batch: with [B, L, D] and masks of the three.
      aligned: their steps are words already: they are only padded to the longest. Else
        audio and vision are pooled to the text's steps, as in `align`.
      padded: take padded steps for real ones.

    Returns:
      By modality: features [B, L, D], and its own real steps [B, L] bool.
    """
    names = ("text", "audio", "vision")
    x = {m: batch[m] for m in names}
    steps = step_masks(batch, padded=padded)
    masks: dict[str, jax.Array] = dict(zip(names, steps, strict=True))
    if not aligned:
        for m in names[1:]:
            x[m], masks[m] = align(x[m], masks[m], masks["text"])
    longest = max(mask.shape[1] for mask in masks.values())
    for m, mask in masks.items():
        assert_steps(x[m], mask)
        extra = (0, longest - mask.shape[1])
        x[m] = jnp.pad(x[m], ((0, 0), extra, (0, 0)))
        masks[m] = jnp.pad(mask, ((0, 0), extra))
    return x, masks


def to_text(
    batch: dict[str, jax.Array], lengths: tuple[int, int, int], *, pool: bool
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Audio and vision at the text's steps.

    Args:
      batch: with text_mask [B, T], audio and vision [B, L, D] and their masks; with
        text_own [B, T] where the text has neighbours: these steps alone are counted, and
        the others have zeros.
      lengths: longest text, audio and vision of the data.
      pool: pool them as in `align`; else step i stays step i, and what lies
        beyond the text's steps, or before their own end, are zeros.

    Returns:
      Of each, [B, T, D] float32 and its own real steps among these, [B, T] bool.

    Raises:
      ValueError: not pooled, but longer than the text.
    """
    if not pool and max(lengths) > lengths[0]:
        raise ValueError(
            f"the longest text, audio and vision have {lengths} steps, so audio and "
            "vision have no row for each word piece; set config.model.align=True to "
            "pool them, or config.text.words=True where they have a row per word"
        )
    own = batch.get("text_own")
    text = batch["text_mask"] if own is None else front(own)

    def one(modality: str) -> tuple[jax.Array, jax.Array]:
        x, mask = batch[modality], batch[f"{modality}_mask"]
        if pool:
            x, mask = align(x, mask, text)
        else:
            assert_steps(x, mask)
            x, mask = (v[:, : text.shape[1]] for v in (x, mask))
            extra = (0, text.shape[1] - x.shape[1])
            x = jnp.pad(jnp.where(mask[..., None], x, 0), ((0, 0), extra, (0, 0)))
            mask = jnp.pad(mask, ((0, 0), extra))
        if own is not None:
            x, mask = to_places(x, own), to_places(mask[..., None], own)[..., 0]
        return x, mask

    return one("audio"), one("vision")
