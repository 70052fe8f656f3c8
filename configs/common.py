"""Defaults that every recipe starts from; the keys here are all the keys there are.

`config.model` is open: its keys are the fields of the system's module.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference

from msajax.optim import Optimizer


def get_config(system: str, dataset: str) -> Any:
    """The default recipe of a system on a dataset; a recipe file updates it."""
    config: Any = ConfigDict()
    config.system = system
    config.data = dict(
        dataset=dataset,  # a name in msajax.data.spec.DATASETS: labels and metrics
        path="",  # file or prepared store; '' for the store named dataset/variant
        variant="",  # which file of the dataset: 'aligned', 'unaligned'
        format="",  # '' finds it from the content
        encoding="",  # of texts that are not UTF-8: 'gbk', 'big5', ...
        dims=(),  # expected feature widths (text, audio, vision); () takes the file's
        lengths=(),  # expected longest sequences; () takes the file's
        truncate=False,  # cut longer sequences instead of refusing them
        buckets=1,  # groups of rows of similar lengths, each with its own padding
        on_device="auto",  # whether a split stays on the device: 'auto' where it fits,
        # 'always', or 'never': batches are streamed from the host
        modalities=("text", "audio", "vision"),
        seed=0,  # of the generated demo corpus
        weak=0.0,  # share of its clips whose modalities do not fit together
    )
    config.text = dict(
        encoder="",  # pretrained encoder that reads the raw text: a folder, an installed
        # package or an id on the hub; '' takes the text features of the data
        max_length=50,  # word pieces, special tokens included; longer texts are cut
        frozen=False,  # compute the encoder's features once, for systems that take any
        raw=False,  # tokenize the raw text although the data has word pieces
        words=False,  # audio and vision have a row per word: repeat it for its pieces
    )
    config.model = ConfigDict()
    config.train = dict(
        seeds=(1, 2, 3, 4, 5),
        # how many seeds one program trains; 'auto': all on a GPU, 1 on a CPU
        seeds_at_once=FieldReference("auto", field_type=object),
        epochs=100,
        batch_size=32,
        accumulate=1,  # batches per update; their gradients are averaged
        patience=8,  # epochs without a better validation figure; 0 never stops
        select="loss",  # validation figure that picks the checkpoint: 'loss', a
        # metric, or 'last' for the last epoch whatever its figures
    )
    config.optimizer = Optimizer().to_dict()
    config.phases = ()  # dicts that override train and optimizer; () is one phase
    config.init_from = ""  # another run's workdir (each seed takes its own of it), or
    # one seed's folder there: its best checkpoint's arrays of the same name
    config.init_parameters = ".*"  # regex of those that are taken
    config.cycles = 1  # > 1 alternates the phases
    config.precision = "float32"  # of the computation; 'bfloat16' for large encoders
    config.parallel = dict(
        devices=0,  # of each process; 0 takes all GPUs, or the processor as one device
        coordinator="",  # HOST:PORT where several processes meet; '' asks the launcher
        num_processes=0,  # of the run; 0 asks the launcher (srun, mpirun), else 1
        process_id=0,  # of this process, where num_processes is given
    )
    config.deterministic = True  # on GPU: deterministic kernels, slower
    config.checkpoint = dict(seconds=30.0)  # least time between two saves
    config.lock()
    config.model.unlock()
    return config


def fine_tune(
    config: Any,
    *,
    learning_rate: float,
    head: float,
    weight_decay: float = 0.01,
    frozen_layers: int | None = 0,
) -> None:
    """Sets AdamW with a rate of its own for the encoder, warmed up over a tenth of the updates.

    Biases and norms do not decay.

    Args:
      config: changed in place.
      learning_rate: of the encoder.
      head: learning rate of all else.
      weight_decay: of both.
      frozen_layers: first layers that stay as they are, and the embeddings with
        them; 0 trains all, None nothing of the encoder. Their dropout goes on in
        training, as in PyTorch's `model.train()`.
    """
    rate, no_decay = {"learning_rate": learning_rate}, {"weight_decay": 0.0}
    encoder: list[tuple[str, Any]] = [
        (r"encoder/.*(bias|[nN]orm(_\d+)?/scale)", {**rate, **no_decay}),
        (r"encoder/.*", rate),
    ]
    if frozen_layers is None:
        encoder = [(r"encoder/.*", None)]
    elif frozen_layers:
        layers = "|".join(map(str, range(frozen_layers)))
        first = rf"((embeddings|word_embedding)|(encoder/)?layer/({layers}))"
        encoder.insert(0, (rf"encoder/{first}/.*", None))
    groups = (*encoder, (r".*(bias|[nN]orm(_\d+)?/scale)", no_decay), (r".*", {}))
    config.optimizer.update(
        name="adamw",
        learning_rate=head,
        weight_decay=weight_decay,
        schedule="warmup_linear",
        warmup=0.1,
        groups=groups,
    )
