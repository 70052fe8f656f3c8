"""The model card of a run: what it is, what it was trained on, how good it is, what it is not for."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence

from msajax import encoders
from msajax.data.spec import DATASETS, MODALITIES
from msajax.report import table
from msajax.report.finished import Finished

_UNKNOWN = "not stated in a model card here; ask where the weights come from"


def markdown(run: Finished) -> str:
    """The card in Markdown, sections as Hugging Face's cards have them."""
    lines = [f"# {run.results.system} on {DATASETS[run.results.dataset].title}"]
    for title, facts in sections(run).items():
        lines += ["", f"## {title}", "", *(f"- {k}: {v}" for k, v in facts.items())]
    rule = ["--"] * len(header(run))
    grid = [header(run), rule, *rows(run)]
    lines += ["", "## Results on test", "", *(f"| {' | '.join(r)} |" for r in grid)]
    return "\n".join(lines) + "\n"


def sections(run: Finished) -> Mapping[str, Mapping[str, str]]:
    """{title: {what: value}}: model, data, training, limits."""
    return {
        "Model": _model(run),
        "Data": _data(run),
        "Training": _training(run),
        "Limits": _limits(run),
    }


def header(run: Finished) -> list[str]:
    """Of the table of results: a column for each seed where there are several."""
    seeds = run.results.seeds
    each = [f"seed {seed}" for seed in seeds] if len(seeds) > 1 else []
    return ["metric", "mean ± std", *each]


def rows(run: Finished, split: str = "test") -> list[list[str]]:
    """Of the table of results."""
    made = []
    for name, found in run.results.splits[split].items():
        mean = table.number(name, found["mean"])
        each = [table.number(name, value) for value in found["values"]]
        if len(each) > 1:
            made.append(
                [table.title(name), f"{mean} ± {table.number(name, found['std'])}"]
            )
            made[-1] += each
        else:
            made.append([table.title(name), mean])
    return made


def licence(encoder: str) -> str:
    """What the model card beside an encoder's weights says; '' where it says nothing, or is not here."""
    with contextlib.suppress(ValueError):
        if folder := encoders.here(encoder):
            return encoders.licence(folder)
    return ""


def _model(run: Finished) -> dict[str, str]:
    options, facts = run.options, run.results.facts
    found = {
        "system": run.results.system,
        "msajax": str(facts.get("version", "")),
        "checkpoint": str(facts.get("checkpoint", "")),
    }
    for what, read in (("text", options.text), ("audio", options.audio)):
        if read.encoder:
            kind = "frozen" if read.frozen else "fine-tuned"
            found[f"{what} encoder"] = f"{pathlib.Path(read.encoder).name}, {kind}"
            found[f"licence of the {what} encoder"] = licence(read.encoder) or _UNKNOWN
    return found | {f"`{k}`": str(v) for k, v in options.model.items()}


def _data(run: Finished) -> dict[str, str]:
    spec, dataset = run.spec, DATASETS[run.results.dataset]
    rows = "dialogues" if spec.turns else "rows"
    widths = ", ".join(
        f"{name} {width}"
        for name, width in zip(MODALITIES, spec.dims, strict=True)
        if name in run.options.data.modalities
    )
    return {
        "data set": dataset.title,
        "file": run.options.data.path or "generated",
        "SHA-256 of the data": str(run.results.facts.get("data_sha256", "")),
        f"{rows} for training": str(spec.num_train),
        "rows for test": str(len(run.test)),
        "widths of features": widths,
        "labels": _labels(run),
    }


def _labels(run: Finished) -> str:
    if run.spec.classes:
        return ", ".join(run.spec.classes)
    low, high = run.spec.label_range or (0.0, 0.0)
    return f"sentiment from {low:g} (negative) to {high:g} (positive)"


def _training(run: Finished) -> dict[str, str]:
    plan, facts = run.options.plan[-1], run.results.facts
    optimizer, own = plan.optimizer, ""
    if optimizer.encoder_rate and run.options.trains_encoder:
        own = f", of encoders {optimizer.encoder_rate:g}"
    return {
        "seeds": _joined(run.results.seeds),
        "epochs of each seed": _joined(facts.get("epochs", ())),
        "seconds of each seed": _joined(facts.get("seconds", ())),
        "batch": str(plan.batch_size),
        "optimizer": f"{optimizer.name}, learning rate {optimizer.learning_rate:g}{own}",
        "the epoch is chosen by": f"validation {plan.select}",
        "SHA-256 of the recipe": str(facts.get("config_sha256", "")),
    }


def _limits(run: Finished) -> dict[str, str]:
    title = DATASETS[run.results.dataset].title
    limits = {
        "language and domain": f"those of {title}; elsewhere its figures do not hold",
        "input": "features made as those of the training data; with others the predictions are meaningless",
        "people": "a prediction is of an utterance, not of a person's state of mind; do "
        "not decide about people by it",
    }
    if run.options.data.path == "":
        limits["generated data"] = (
            "trained on a generated corpus: it says nothing of speech"
        )
    if lines := table.unread(run.results.facts):
        limits["labels that it writes"] = "; ".join(lines)
    if len(run.results.seeds) == 1:
        limits["one seed"] = "how far its figures vary from seed to seed is not known"
    return limits


def _joined(values: Sequence) -> str:
    return ", ".join(map(str, values))
