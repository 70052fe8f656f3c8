"""The section `config.audio` of a recipe."""

import dataclasses

from msajax.data import typed
from msajax.data.spec import Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioOptions(typed.Checked):
    """How the audio is read.

    Attributes:
      encoder: pretrained encoder of waves, given as that of the text; empty takes the
        audio features of the data.
      frozen: compute the encoder's features once, for systems that take any.
      frames: how many of its frames, 50 a second, are averaged to a step of these.
    """

    where: dataclasses.InitVar[str] = "config.audio"
    encoder: str = ""
    frozen: bool = False
    frames: Size = 5

    def __post_init__(self, where: str):
        super().__post_init__(where)
        if self.frozen and not self.encoder:
            raise ValueError(
                "config.audio.frozen is set, but config.audio.encoder names no encoder; "
                "give a folder, an installed package or an id on the hub, or unset it"
            )
