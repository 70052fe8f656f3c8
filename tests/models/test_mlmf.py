"""MLMF: predictions against numpy, and the row of its recipe."""

from msajax.run import recipe
from msajax.train import step
from msajax.train.optim import assign
from tests.models import multi_tasks
from tests.weights import numpy_reference


def test_predictions_are_the_references():
    multi_tasks.compare("mlmf", numpy_reference.lmf, rank=4)


def test_the_weights_of_the_terms_stay_only_in_the_row_of_that_name():
    model, _ = multi_tasks.ready("mlmf")
    paths = step.shapes(model).params
    for row in ("", "/frozen_fusion"):
        optimizer = recipe.load(f"mlmf:simsv2{row}").plan[0].optimizer
        groups = assign(optimizer, paths)
        frozen = {path for path, group in groups.items() if group is None}
        assert frozen == ({"fusion_weights", "fusion_bias"} if row else set())
        settings = [optimizer.groups[i][1] for i in (groups["text_factor"],)]
        assert settings == [{"learning_rate": 5e-4}]
        decay = optimizer.groups[groups["subnets/audio/linear_1/kernel"]][1]
        assert decay == {"weight_decay": 1e-5} and optimizer.weight_decay == 1e-3
