"""A corpus as a tfds dataset in array_record files, written without TensorFlow.

Importing tfds takes a second, so this module is imported where it is used.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from msajax.data import stored
from msajax.data.spec import MODALITIES, Corpus, Split

_BLOCK = 64  # rows that are in memory at once
UNSPLIT = "unsplit"  # stands for 'all', a name that tfds keeps for itself


def mask_of(field: str) -> str:
    """The mask field of a sequence field, '' for any other field."""
    modality = field.partition("_")[0]
    is_sequence = modality in MODALITIES and not field.endswith("_mask")
    return f"{modality}_mask" if is_sequence else ""


def rows_of(split: Split) -> dict[str, list]:
    """What is known of each row without reading it: by field the lengths of sequences, other values.

    Of a store it is in the metadata as well; vectors of a row are not.
    """
    rows = {"id": split.ids.tolist(), "raw_text": split.raw_text.tolist()}
    for name, array in split.arrays.items():
        if mask := mask_of(name):
            rows[name] = split.arrays[mask].sum(1).tolist()
        elif array.ndim == 1:
            rows[name] = array.tolist()
    return rows


class MsajaxCorpus(tfds.core.GeneratorBasedBuilder):
    """A prepared corpus; sequences are stored without their padding, masks as lengths.

    The hash of the source, the notes, the padded lengths and what is known of each row
    without its features are in the metadata.
    """

    # tfds looks for the checksums of downloads beside a builder's code, by a package
    # that it does not depend on; here nothing is downloaded.
    code_path = None
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "CMU-MOSI, CMU-MOSEI, CH-SIMS and MELD are given out by their authors, and no "
        "program can fetch them. Download a file of features (the README of the MMSA "
        "repository links those of the field), then run "
        "python tools/prepare_data.py --format mmsa --source FILE --name mosi/unaligned"
    )

    def __init__(self, corpus: Corpus, *, data_dir: str):
        self.corpus = corpus
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        splits = self.corpus.splits
        steps = {
            name: {k: a.shape[1] for k, a in split.arrays.items() if mask_of(k)}
            for name, split in splits.items()
        }
        features: dict[str, Any] = {"id": tfds.features.Text()}
        features["raw_text"] = tfds.features.Text()
        for name, array in next(iter(splits.values())).arrays.items():
            if not name.endswith("_mask"):
                features[name] = _feature(array, is_sequence=bool(mask_of(name)))
        return tfds.core.DatasetInfo(
            builder=self,
            description="A corpus of msajax.",
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(
                dataset=self.corpus.dataset,
                sha256=self.corpus.sha256,
                notes=list(self.corpus.notes),
                media=self.corpus.media,
                steps=steps,
                rows={name: rows_of(split) for name, split in splits.items()},
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {
            UNSPLIT if name == "all" else name: self._generate_examples(split)
            for name, split in self.corpus.splits.items()
        }

    def _generate_examples(self, split: Split) -> Iterator[dict[str, Any]]:
        arrays = {k: a for k, a in split.arrays.items() if not k.endswith("_mask")}
        masks = {k: split.arrays[mask_of(k)] for k in arrays if mask_of(k)}
        for start in range(0, len(split), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(split)))
            taken = stored.take(arrays, np.array(rows))
            for i, values in zip(rows, zip(*taken.values(), strict=True), strict=True):
                row = dict(zip(taken, values, strict=True))
                row |= {k: row[k][mask[i]] for k, mask in masks.items()}
                yield {"id": split.ids[i], "raw_text": split.raw_text[i], **row}

    def write(self) -> None:
        """Writes the store row by row, each split as one file.

        `download_and_prepare` would hold 1 GB of a split in memory, and sort what is more
        on the disk, by TensorFlow.
        """
        splits = self._split_generators(None)
        writer = tfds.core.SequentialWriter(
            self.info, max_examples_per_shard=sys.maxsize, file_format="array_record"
        )
        os.makedirs(self.data_dir)
        writer.initialize_splits([*splits])
        writer.add_examples(splits)
        writer.close_all()


def _feature(array: np.ndarray, *, is_sequence: bool) -> tfds.features.Tensor:
    shape = (None, *array.shape[2:]) if is_sequence else array.shape[1:]
    encoding = tfds.features.Encoding.BYTES
    return tfds.features.Tensor(shape=shape, dtype=array.dtype, encoding=encoding)
