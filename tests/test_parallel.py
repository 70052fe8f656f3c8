"""Reductions and draws over the global batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import parallel


def test_draws_do_not_depend_on_the_number_of_devices():
    key = jax.random.key(3)

    def rows_and_partners(x):
        noise = parallel.draw(lambda rows: jax.random.normal(key, (rows, 2)), len(x))
        partner = parallel.draw(lambda rows: jax.random.permutation(key, rows), len(x))
        return x + noise, parallel.gather(x)[partner]

    x = np.arange(16, dtype=np.float32).reshape(8, 2)
    alone = jax.jit(rows_and_partners)(x)
    devices = parallel.find_devices(4)
    dealt = parallel.compile(rows_and_partners, devices, in_axes=(0,), out_axes=0)(
        parallel.put_shards(x.reshape(4, 2, 2), devices)
    )
    for one, many in zip(alone, dealt, strict=True):
        np.testing.assert_array_equal(np.reshape(many, (8, 2)), one)
    assert sorted(alone[1].ravel().tolist()) == list(range(16))
    assert not jnp.array_equal(alone[1], x)


@pytest.mark.parametrize("cores,told", [(1000, True), (1, False)])
def test_too_few_devices_say_whether_jax_was_started_before(monkeypatch, cores, told):
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: cores)
    with pytest.raises(ValueError, match="asks for 100 devices, but this") as error:
        parallel.find_devices(100)
    assert ("restart Python (a notebook's kernel)" in str(error.value)) == told
