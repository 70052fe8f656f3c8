"""What the published files of the data sets hold: widths, lengths, rows."""

from collections.abc import Mapping
from typing import NamedTuple


class File(NamedTuple):
    """What a published file holds.

    Attributes:
      dims, lengths: widths and longest sequences of text, audio and vision. A width of 1
        is that of text that has no features, but word pieces.
      rows: of train, valid and test.
    """

    dims: tuple[int, int, int]
    lengths: tuple[int, int, int]
    rows: tuple[int, int, int]


_MOSI, _MOSEI = (1284, 229, 686), (16326, 1871, 4659)
# By data set and variant: the files of the MMSA download, those of MAG-BERT's authors
# ('mag'), and the utterance vectors of Poria et al.
FILES: Mapping[str, File] = {
    "mosi/aligned": File((768, 5, 20), (50, 50, 50), _MOSI),
    "mosi/unaligned": File((768, 5, 20), (50, 375, 500), _MOSI),
    "mosi/mag": File((1, 74, 47), (50, 50, 50), _MOSI),
    "mosi/poria": File((100, 73, 100), (1, 1, 1), (1245, 202, 752)),
    "mosei/aligned": File((768, 74, 35), (50, 50, 50), _MOSEI),
    "mosei/unaligned": File((768, 74, 35), (50, 500, 500), _MOSEI),
    "mosei/mag": File((1, 74, 35), (50, 50, 50), _MOSEI),
    "sims/unaligned": File((768, 33, 709), (39, 400, 55), (1368, 456, 457)),
    "simsv2/unaligned": File((768, 25, 177), (50, 925, 232), (2722, 647, 1034)),
}
