"""Graph-MFN: `configs/graph_mfn.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

DATASETS = {
    "mosi": dict(
        data=dict(variant="aligned"),
        model=dict(
            hidden_dims=(256, 32, 256),
            memory=300,
            node_dim=64,
            gate_dims=(32, 128, 64),
            gate_dropouts=(0.0, 0.5, 0.5),
            out_dim=256,
            out_dropout=0.0,
        ),
        optimizer=dict(learning_rate=2e-3, weight_decay=5e-3),
        train=dict(batch_size=32),
    ),
    "mosei": dict(
        data=dict(variant="aligned"),
        model=dict(
            hidden_dims=(64, 16, 64),
            memory=300,
            node_dim=128,
            gate_dims=(32, 64, 256),
            gate_dropouts=(0.5, 0.0, 0.7),
            out_dim=128,
            out_dropout=0.7,
        ),
        optimizer=dict(learning_rate=2e-3, weight_decay=1e-3),
        train=dict(batch_size=64),
    ),
    "sims": dict(
        model=dict(
            hidden_dims=(256, 32, 256),
            memory=64,
            node_dim=128,
            gate_dims=(256, 32, 32),
            gate_dropouts=(0.5, 0.2, 0.7),
            out_dim=256,
            out_dropout=0.2,
        ),
        optimizer=dict(learning_rate=5e-4, weight_decay=1e-3),
        train=dict(batch_size=64),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(64, 16, 64),
            memory=400,
            node_dim=32,
            gate_dims=(32, 256, 256),
            gate_dropouts=(0.7, 0.5, 0.2),
            out_dim=256,
            out_dropout=0.2,
        ),
        optimizer=dict(learning_rate=2e-3),
        train=dict(batch_size=32),
    ),
    "demo": recipe.demo(
        model=dict(
            hidden_dims=(32, 16, 16),
            memory=32,
            node_dim=16,
            graph_dim=32,
            gate_dims=(32, 32, 32),
            gate_dropouts=(0.0, 0.2, 0.2),
            out_dim=32,
        )
    ),
    "poria": recipe.poria(
        model=dict(
            hidden_dims=(64, 16, 16),
            memory=32,
            node_dim=16,
            graph_dim=32,
            gate_dims=(32, 32, 32),
            gate_dropouts=(0.0, 0.2, 0.2),
            out_dim=64,
            out_dropout=0.5,
        )
    ),
}

ROWS = {
    # MMSA's optimizer does not know the networks of the vertices.
    "frozen_vertices": {
        "optimizer.groups": ((r"graph/vertex_.*", None), (r".*", {})),
    },
    # The paper's efficacies.
    "sigmoid": dict(efficacy="sigmoid"),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=recipe.MMSA, rows=ROWS)
    return recipe.make("graph_mfn", values)
