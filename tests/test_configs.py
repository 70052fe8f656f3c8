"""Every recipe of the public systems fits its system, at full size."""

import importlib

import jax
import pytest

from msajax import models
from msajax.data.spec import DATASETS, Spec
from msajax.optim import Optimizer, assign

SYSTEMS = ("ef_lstm", "lf_dnn", "tfn", "lmf", "mult")
SIZES = {  # dims and lengths of the unaligned files; source: thuiar/MMSA
    "mosi": ((768, 5, 20), (50, 375, 500)),
    "mosei": ((768, 74, 35), (50, 500, 500)),
    "sims": ((768, 33, 709), (39, 400, 55)),
    "simsv2": ((768, 25, 177), (50, 925, 232)),
}


@pytest.mark.parametrize("dataset", SIZES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_recipe(system, dataset):
    config = importlib.import_module(f"configs.{system}_{dataset}").get_config()
    assert (config.system, config.data.dataset) == (system, dataset)
    dims, lengths = SIZES[dataset]
    if config.data.variant == "aligned":
        lengths = (lengths[0],) * 3
    assert (config.data.dims, config.data.lengths) == (dims, lengths)
    assert (config.data.variant == "aligned") == (
        system == "ef_lstm" and dataset in ("mosi", "mosei")
    )

    spec = Spec(dims, lengths, 1284, DATASETS[dataset].label_range)
    model = models.get(system)(spec, **config.model)
    batch = spec.example(2)
    variables = jax.eval_shape(
        lambda key: model.init(key, batch, train=False), jax.random.key(0)
    )
    optimizer = Optimizer(**config.optimizer)
    paths = [
        "/".join(entry.key for entry in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
    ]
    groups = assign(optimizer, paths)
    factors = {path for path in paths if path.endswith("_factor")}
    if system == "lmf":
        assert {path for path in paths if groups[path] == 0} == factors
        assert len(factors) == 3 and optimizer.groups[0][1]["weight_decay"] == 0
    assert config.train.patience == 8
