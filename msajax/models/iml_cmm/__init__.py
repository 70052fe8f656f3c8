"""IML-CMM: KAN and Transformer layers within each modality, AHL across them, and training on mixed audio and vision.

Choices where the paper is silent or at odds with itself, beyond those in `system.py`:
- Heads are KAN layers on pooled tokens, without a sigmoid. Without KAN a head is linear
  alone, because a ReLU would cut negative labels off.
- The label of M is learned too (row M of Table 5), and "w/o UFA" is that row.
- The paper gives one learning rate, 1e-5: it is that of BERT and of everything else.
- A mixed row learns the prediction of its own modality from that modality's label, and this
  loss has none of the weights of the modalities (equations 23 to 26 and 32).
- The semi-supervised form (row `semi`) mixes tokens, as AV-MC's mixes hidden features. The
  network's predictions are the labels of rows without labels, for the label of the mixed
  modality alone. Unlike in AV-MC's, known labels are used, no gradient goes through
  predictions, and one pass reads labelled and unlabelled rows.
- Left out: KAN layers without a norm before them, attention pooling over steps instead of
  tokens, a sigmoid behind the head of M.
"""

from msajax.models.iml_cmm.system import IMLCMM as IMLCMM
