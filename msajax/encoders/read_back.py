"""Labels out of the texts that an encoder with a decoder writes."""

import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import Written


def read_back(ids: jax.Array, written: Written) -> tuple[jax.Array, jax.Array]:
    """Finds the label in texts.

    Args:
      ids: [B, L] int32, pieces, with that of the end and padding behind it.
      written: how labels are texts.

    Returns:
      The number of the answer that the field of the label is, exactly and up to a separator
      or the end, [B] int32; and whether it is any, [B] bool.
    """
    length, answers = ids.shape[1], written.answers
    wide = max(len(written.separator), *map(len, answers)) + 1
    # One that is no piece stands behind.
    padded = jnp.pad(ids, ((0, 0), (0, wide)), constant_values=-1)
    parts = [padded[:, j : j + length] for j in range(len(written.separator))]
    stops = jnp.stack(
        [x == y for x, y in zip(parts, written.separator, strict=True)]
    ).all(axis=0)
    ended = jnp.cumsum(ids == written.end, axis=1) > 0
    number = jnp.cumsum(stops & ~ended, axis=1)  # of the separators so far
    first = jnp.argmax(number == written.place, axis=1)
    start = first + len(written.separator) if written.place else jnp.zeros_like(first)
    there = jnp.any((number == written.place) & ~ended, axis=1) | (written.place == 0)
    places = start[:, None] + jnp.arange(wide)[None]
    window = jnp.take_along_axis(padded, jnp.minimum(places, padded.shape[1] - 1), 1)
    stops = jnp.pad(stops | (ids == written.end), ((0, 0), (0, wide)))
    stops = jnp.take_along_axis(stops, jnp.minimum(places, padded.shape[1] - 1), 1)
    table = np.full((len(answers), wide), -1, np.int32)
    for row, answer in zip(table, answers, strict=True):
        row[: len(answer)] = answer
    equal = (window[:, None] == table[None]) | (table < 0)[None]
    fits = jnp.all(equal, axis=2) & stops[:, np.array([len(a) for a in answers])]
    known = jnp.any(fits, axis=1) & there
    return jnp.argmax(fits, axis=1).astype(jnp.int32), known
