"""UniMSE: T5 reads the text with audio and vision, and writes the label as text."""

from msajax.models.unimse.system import UniMSE as UniMSE
