"""MTFN: predictions against numpy, and the range that they fill."""

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.models.mtfn import MTFN
from tests.models import multi_tasks
from tests.models.multi_tasks import BATCH, SIZES, SPEC
from tests.weights import numpy_reference

SMALL = dict(text_out=4, post_fusion_dim=5)


def test_predictions_are_the_references():
    constants = {"output_range": np.float32([6]), "output_shift": np.float32([-3])}
    multi_tasks.compare("mtfn", numpy_reference.tfn, constants=constants, **SMALL)


@pytest.mark.parametrize("given,filled", [((), (-1, 1)), ((-3.0, 3.0), (-3, 3))])
def test_a_sigmoid_fills_the_range_of_the_labels(given, filled):
    model, variables = multi_tasks.ready("mtfn", output_range=given, **SMALL)
    last = variables["params"]["post_fusion_3"]
    run = jax.jit(lambda v: model.apply(v, BATCH, train=False)["pred"])
    for bias, wanted in ((-50.0, filled[0]), (0.0, 0.0), (50.0, filled[1])):
        last["kernel"], last["bias"] = 0 * last["kernel"], np.float32([bias])
        np.testing.assert_allclose(run(variables), wanted, atol=1e-6)
    table = weights.table_of(model)
    assert table.constants == {
        "output_range": filled[1] - filled[0],
        "output_shift": filled[0],
    }


def test_a_range_of_one_number_is_refused():
    model = MTFN(SPEC, **SIZES, output_range=(1.0,))
    with pytest.raises(ValueError, match=r"output_range is \(1.0,\); give the lowest"):
        weights.template(model, BATCH, train=False)
