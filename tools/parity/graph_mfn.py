"""Graph-MFN of thuiar/MMSA, the networks of its vertices among the weights."""

from typing import Any

import jax.numpy as jnp

from msajax.models.graph_mfn import Graph, GraphMFN
from msajax.nn.memory import LSTMs
from msajax.weights import reference_form, template
from msajax.weights.graph_mfn import table
from tools.parity.case import Case
from tools.parity.mfn import states
from tools.parity.replay import padded_batch, run, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    batch = padded_batch(
        inputs["text"], inputs["audio"], inputs["vision"], inputs["labels"]
    )
    gates = ("NN shapes", "gamma1 shapes", "gamma2 shapes")
    model = GraphMFN(
        spec_of(batch, case.setting("output_dim")),
        hidden_dims=tuple(case.setting("hidden_dims")),
        memory=case.setting("memsize"),
        node_dim=case.setting("inner_node_dim"),
        graph_dim=case.setting("width of the first layer of every graph network"),
        gate_dims=tuple(case.setting(name) for name in gates),
        gate_dropouts=(0.0, 0.0, 0.0),
        out_dim=case.setting("out shapes"),
        out_dropout=0.0,
        **reference_form("graph_mfn"),
    )
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    found = run(model, variables, batch, capture=(Graph, LSTMs))
    collected = found.collections["intermediates"]
    (out,), ((of_lstms, _),) = collected["__call__"], collected["lstms"]["__call__"]
    ((graph, efficacies, vertices),) = collected["graph"]["__call__"]
    named = {"".join(map(str, key)): x[-1] for key, x in vertices.items()}
    gradients = rules.arrays({"params": found.gradients})
    return {
        "out/M": found.features["M"],
        "out/mem": out["memory"],
        "out/efficacies": jnp.swapaxes(efficacies, 0, 1),
        "out/t_network": jnp.swapaxes(graph, 0, 1),
        **states(of_lstms, "states"),
        **{f"out/last_step_nodes/{key}": x for key, x in named.items()},
        "loss/total": found.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
    }
