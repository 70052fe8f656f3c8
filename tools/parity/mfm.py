"""MFM of thuiar/MMSA, with the Gaussian samples of a case."""

from typing import Any

import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Outputs
from msajax.models.mfm import MFM
from msajax.weights import reference_form, template
from msajax.weights.mfm import table
from tools.parity.case import Case
from tools.parity.mfn import LETTERS, fusion_settings
from tools.parity.replay import padded_batch, run, spec_of


class _Given(MFM):
    """MFM with the samples that its latent vectors are compared with."""

    given: Any = None

    def samples(self, out: Outputs) -> dict[str, Any]:
        del out
        return dict(self.given)


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    batch = padded_batch(
        inputs["text"], inputs["audio"], inputs["vision"], inputs["labels"]
    )
    model = _model(case, batch)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    found = run(model, variables, batch, train=True)
    (out,) = found.collections["intermediates"]["__call__"]
    terms, weights = found.terms, zip(MODALITIES, model.reconstruction, strict=True)
    gradients = rules.arrays({"params": found.gradients})
    return {
        "out/M": found.features["M"],
        **{f"out/z{x}": out[f"latent_{m}"] for m, x in _LETTERS.items()},
        **{f"out/f{x}": out[f"factor_{m}"] for m, x in _LETTERS.items()},
        **{f"out/x{x}_hat": batch[m] + out[f"error_{m}"] for m, x in LETTERS.items()},
        "loss/disc": terms["task"],
        "loss/gen": sum(w * terms[f"reconstruction_{m}"] for m, w in weights),
        "loss/mmd": terms["mmd"],
        "loss/total": found.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
    }


_LETTERS = {**LETTERS, "all": "y"}


def _model(case: Case, batch: Batch) -> _Given:
    noise = case.group("in/noise/")
    return _Given(
        spec_of(batch),
        latent_dims=tuple(case.setting("zy,zl,za,zv sizes")),
        factor_dims=tuple(case.setting("fy,fl,fa,fv sizes")),
        factor_dropouts=(0.0, 0.0, 0.0, 0.0),
        reconstruction=tuple(case.setting(f"lda_x{x}") for x in "lav"),
        mmd=case.setting("lda_mmd"),
        **fusion_settings(case),
        **reference_form("mfm"),
        given={m: jnp.asarray(noise[f"z{x}"]) for m, x in _LETTERS.items()},
    )
