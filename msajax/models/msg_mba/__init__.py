"""MSG/MBA: gates shift text, audio and vision by each other; audio and vision adjust the text's attention.

Choices where the paper is silent or at odds with itself, beyond those that the modules of
this package name:
- W_p, the matrices over the steps, start as the identity, and rows beyond the length of a
  batch are cut, so that padding and buckets change nothing.
- MSG-A reads M_ta (`routing="matched"`). "crossed" is the letter of the text, whose other
  "respectively" about the same pair is swapped too.
- Modalities that no gate shifts are concatenated all the same: in the paper "no proposed
  modules" is worse than "only T".
- A row without text has the steps of audio and vision. With an sLSTM the [CLS] position has
  seen no audio before it.
"""

from msajax.models.msg_mba.system import MSGMBA as MSGMBA
