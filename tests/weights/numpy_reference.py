"""Forward passes of the references in numpy, from PyTorch state dicts: the tests' second opinion."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_layer(x, kernel, recurrent, bias):
    """One sequence [L, D] -> all states [L, H]; kernels [in, 4 H], gates i, f, g, o."""
    h = c = np.zeros(recurrent.shape[0])
    states = []
    for step in x:
        i, f, g, o = np.split(step @ kernel + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.stack(states) if states else np.zeros((0, len(h)))


def lstm(state, prefix, x):
    """torch.nn.LSTM on a batch [B, L, D]: the last layer's states [B, L, H]."""
    layer = 0
    while f"{prefix}.weight_ih_l{layer}" in state:
        w, r, b, c = (
            state[f"{prefix}.{name}_l{layer}"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        x = np.stack([lstm_layer(row, w.T, r.T, b + c) for row in x])
        layer += 1
    return x


def linear(state, prefix, x):
    """torch.nn.Linear."""
    return x @ state[f"{prefix}.weight"].T + state[f"{prefix}.bias"]


def batch_norm(state, prefix, x):
    """torch.nn.BatchNorm1d in evaluation, channels last."""
    mean, var = state[f"{prefix}.running_mean"], state[f"{prefix}.running_var"]
    x = (x - mean) / np.sqrt(var + 1e-5)
    return x * state[f"{prefix}.weight"] + state[f"{prefix}.bias"]


def relu(x):
    return np.maximum(x, 0)


def subnets(state, batch):
    """MMSA's three embeddings on averages over the padded length."""
    text = linear(
        state,
        "text_subnet.linear_1",
        lstm(state, "text_subnet.rnn", batch["text"])[:, -1],
    )
    others = []
    for torch, name in (("audio_subnet", "audio"), ("video_subnet", "vision")):
        h = batch_norm(state, f"{torch}.norm", batch[name].mean(1))
        for i in (1, 2, 3):
            h = relu(linear(state, f"{torch}.linear_{i}", h))
        others.append(h)
    return text, *others


def post_fusion(state, h):
    """The three layers after the fusion of TFN and LF-DNN."""
    for i in (1, 2):
        h = relu(linear(state, f"post_fusion_layer_{i}", h))
    return linear(state, "post_fusion_layer_3", h)[:, 0]


def with_one(x):
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def tfn(state, batch):
    text, audio, vision = map(with_one, subnets(state, batch))
    rows = [
        np.kron(np.kron(a, v), t) for t, a, v in zip(text, audio, vision, strict=True)
    ]
    width, shift = state["output_range"][0], state["output_shift"][0]
    return sigmoid(post_fusion(state, np.stack(rows))) * width + shift


def lf_dnn(state, batch):
    text, audio, vision = subnets(state, batch)
    return post_fusion(state, np.concatenate([audio, vision, text], axis=1))


def lmf(state, batch):
    names = ("text_factor", "audio_factor", "video_factor")
    terms = 1.0
    for name, x in zip(names, map(with_one, subnets(state, batch)), strict=True):
        terms = terms * (x @ state[name])[..., 0]  # [r, B]
    return (state["fusion_weights"] @ terms + state["fusion_bias"])[0]


def ef_lstm(state, batch):
    x = np.concatenate([batch["text"], batch["audio"], batch["vision"]], axis=-1)
    x = batch_norm(state, "norm", x.swapaxes(1, 2)).swapaxes(1, 2)
    h = relu(linear(state, "linear", lstm(state, "lstm", x)[:, -1]))
    return linear(state, "out", h)[:, 0]


def lstm_cell(state, prefix, x):
    """torch.nn.LSTMCell along one sequence [L, D]: hidden states and cells, [L, H] each."""
    h = c = np.zeros(state[f"{prefix}.weight_hh"].shape[1])
    bias = state[f"{prefix}.bias_ih"] + state[f"{prefix}.bias_hh"]
    found = []
    for step in x:
        z = state[f"{prefix}.weight_ih"] @ step + state[f"{prefix}.weight_hh"] @ h
        i, f, g, o = np.split(z + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append((h, c))
    return map(np.stack, zip(*found, strict=True))


def two_layers(state, prefix, x):
    """MMSA's pairs of linear layers with a ReLU between them."""
    return linear(state, f"{prefix}_fc2", relu(linear(state, f"{prefix}_fc1", x)))


def read_rows(state, batch, prefix=""):
    """For each row the hidden states and cells of text, audio and vision, [3][L, H] each."""
    for row in zip(batch["text"], batch["audio"], batch["vision"], strict=True):
        yield zip(
            *(
                lstm_cell(state, f"{prefix}lstm_{letter}", x)
                for letter, x in zip("lav", row, strict=True)
            ),
            strict=True,
        )


def remember(state, mem, x, prefix=""):
    """One step of MFN's memory, which reads x."""
    u = np.tanh(two_layers(state, f"{prefix}att2", x))
    both = np.concatenate([x, mem])
    keep, write = (
        sigmoid(two_layers(state, f"{prefix}gamma{i}", both)) for i in (1, 2)
    )
    return keep * mem + write * u


def mfn_last(state, batch, prefix=""):
    """The last hidden states and memory of MFN: [B, h + M]."""
    rows = []
    for hidden, cells in read_rows(state, batch, prefix):
        cells = np.concatenate(cells, axis=1)
        mem = np.zeros(len(state[f"{prefix}att2_fc2.bias"]))
        for old, new in zip([0 * cells[0], *cells[:-1]], cells, strict=True):
            window = np.concatenate([old, new])
            scores = np.exp(two_layers(state, f"{prefix}att1", window))
            mem = remember(state, mem, scores / scores.sum() * window, prefix)
        rows.append(np.concatenate([*(h[-1] for h in hidden), mem]))
    return np.stack(rows)


def mfn(state, batch):
    return two_layers(state, "out", mfn_last(state, batch))[:, 0]


def mfm(state, batch):
    z = linear(state, "last_to_zy_fc1", mfn_last(state, batch, "mfn_encoder."))
    return two_layers(state, "fy_to_y", relu(two_layers(state, "zy_to_fy", z)))[:, 0]


def graph_mfn(state, batch):
    """Graph-MFN, whose edges are taken from a table instead of being counted."""
    names = {"01": "ta", "02": "tv", "12": "av", "012": "tav"}
    edges = {  # of each vertex: what it reads, and which efficacy is the edge's
        "01": {"t": 0, "a": 1},
        "02": {"t": 2, "v": 3},
        "12": {"a": 4, "v": 5},
        "012": {"t": 6, "a": 7, "v": 8, "ta": 9, "tv": 10, "av": 11},
    }
    top = {"t": 12, "a": 13, "v": 14, "ta": 15, "tv": 16, "av": 17, "tav": 18}

    def network(name, x):
        h = linear(state, f"graph_mfn.{name}.0", x)
        return linear(state, f"graph_mfn.{name}.1.0", h)

    rows = []
    for hidden, _ in read_rows(state, batch):
        mem = np.zeros(len(state["att2_fc2.bias"]))
        for i in range(len(hidden[0])):
            v = {}
            for letter, h, name in zip("tav", hidden, "lav", strict=True):
                window = np.concatenate([h[i - 1] if i else 0 * h[0], h[i]])
                v[letter] = relu(linear(state, f"{name}_transform", window))
            h = network("efficacy_model", np.concatenate([*v.values()]))
            alpha = linear(state, "graph_mfn.efficacy_model.2", h)

            def read(parts, v=v, alpha=alpha):
                return np.concatenate([alpha[k] * v[name] for name, k in parts.items()])

            for group, parts in edges.items():
                v[names[group]] = network(f"networks.{group}", read(parts))
            mem = remember(state, mem, network("t_network", read(top)))
        rows.append(np.concatenate([*(h[-1] for h in hidden), mem]))
    return two_layers(state, "out", np.stack(rows))[:, 0]
