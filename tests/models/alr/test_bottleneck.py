"""The information bottleneck: its Gaussian, its divergence, its samples."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats

from msajax import losses
from msajax.models.alr import bottleneck
from msajax.models.alr.bottleneck import Bottleneck, sample


def test_no_divergence_from_the_prior_itself():
    zeros = np.zeros((2, 3), np.float32)
    np.testing.assert_array_equal(losses.gaussian_kl(zeros, zeros), zeros)


def test_divergence_against_its_integral():
    for mean, std in ((0.5, 0.3), (-1.2, 2.0)):
        p, q = stats.norm(mean, std), stats.norm()

        def density(x, p=p, q=q):
            return p.pdf(x) * (p.logpdf(x) - q.logpdf(x))

        wanted, _ = integrate.quad(density, mean - 12 * std, mean + 12 * std)
        found = losses.gaussian_kl(jnp.float32(mean), jnp.log(jnp.float32(std)))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_mean_and_deviation_by_hand():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    block = Bottleneck(hidden=5)
    variables = block.init(jax.random.key(0), x)
    mean, log_std = block.apply(variables, x)
    params = jax.tree.map(np.asarray, variables["params"])

    def linear(x, name):
        return x @ params[name]["kernel"] + params[name]["bias"]

    h = np.maximum(linear(x, "encoder"), 0)
    np.testing.assert_allclose(mean, linear(h, "mean"), atol=1e-6)
    wanted = np.log1p(np.exp(linear(h, "std") - 5))
    np.testing.assert_allclose(jnp.exp(log_std), wanted, rtol=1e-5)
    assert wanted.max() < 0.05  # almost no noise at first


def test_deviations_are_finite_wherever_the_layer_leads():
    x = jnp.array([-1e4, -200.0, -17.1, -16.9, 0.0, 30.0, 1e4])
    wanted = [-1e4, -200, -17.1, np.log(np.log1p(np.exp(-16.9))), np.log(np.log(2))]
    found = bottleneck._log_softplus(x)
    np.testing.assert_allclose(found[:5], wanted, rtol=1e-6)
    np.testing.assert_allclose(found[5:], np.log([30, 1e4]), rtol=1e-6)
    slope = jax.vmap(jax.grad(bottleneck._log_softplus))(x)
    wanted = [1, 1, 1, 1, 0.5 / np.log(2), 1 / 30, 1e-4]
    np.testing.assert_allclose(slope, wanted, rtol=1e-5)


def test_samples_have_the_mean_and_the_deviation():
    noise = np.random.default_rng(0).normal(size=(20000, 2)).astype(np.float32)
    mean, std = np.array([[1.0, -2.0]]), np.array([[0.1, 3.0]])
    z = sample(
        *(jnp.broadcast_to(jnp.float32(x), noise.shape) for x in (mean, np.log(std))),
        noise,
    )
    np.testing.assert_allclose(z.mean(0), mean[0], atol=0.08)
    np.testing.assert_allclose(z.std(0), std[0], rtol=0.02)
