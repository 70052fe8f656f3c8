"""CorMulT: MulT whose streams are weighed by how well the modalities of a sample fit.

Choices where the paper is silent or at odds with the authors' code, beyond those that the
modules of this package name:
- The coefficient of a pair by a distance d other than cosine is 1 / (1 + d).
- A missing modality has coefficients 0 and no part in the triplet loss.
- The last step that strategy B shifts in is zeros (of words: the id of padding), and not
  padding. Strategy D is drawn for each sample.
- In validation the negative samples are always the same, and the data is not perturbed
  (the authors perturb it).
- Where the authors average two labels (`foreign`), the two losses are averaged: with
  squared errors this has the same gradient.
- With `levels`, the prediction is the value of the most probable level.
- The paper tokenizes with BertTokenizer and then makes a vocabulary of MOSEI. Here the
  vocabulary is of the training split alone, of whole words. The evaluator embeds them at its
  width. The Transformer, whose input the paper leaves open, has an embedding of its own
  of the same width, because the evaluator is frozen by then.
"""

from msajax.models.cormult.system import CorMulT as CorMulT
