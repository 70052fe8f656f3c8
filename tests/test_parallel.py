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
    assert "set it to 0 to take one" in str(error.value)


def test_a_processor_trains_as_one_device_and_evaluates_on_two():
    alone, several = parallel.find_devices(), parallel.find_devices(3)
    assert alone == jax.local_devices()[:1]
    assert parallel.to_evaluate(alone) == jax.local_devices()[:2]
    assert parallel.to_evaluate(several) == several == jax.local_devices()[:3]


@pytest.mark.parametrize(
    "wanted, cores, made", [(0, 8, 2), (3, 8, 3), (9, 8, 8), (9, 1, 2), (1, 1, 2)]
)
def test_a_processor_is_at_least_two_devices_and_else_at_most_its_cores(
    monkeypatch, wanted, cores, made
):
    told = {}
    monkeypatch.delenv("XLA_FLAGS")
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(
        jax.config, "update", lambda name, value: told.update({name: value})
    )
    parallel.split_processor(wanted)
    assert told == {"jax_num_cpu_devices": made}
