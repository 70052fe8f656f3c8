"""ALR: text interacts with audio and with vision, each reduced to what predicts.

What `system.py` does not say of the choices that the paper leaves open:
- Training draws samples of the bottlenecks' Gaussians, evaluation takes the means. Noise is
  drawn by place in the batch: the same rows in another order are another draw.
- A row that lacks a modality has no part in the bottleneck losses of that modality.
- Data without text is refused.
- From MIB's start of softplus(-5) with beta = 1 the first epochs only move the deviations
  (1000 updates at the paper's width and rate, 4 epochs of MOSEI). They end about where the
  default starts. configs/README.md compares the forms.
- Bimodal attention is over the tokens of one utterance. MMMU-BA's, over the utterances of
  a video, needs batches that hold conversations.
- Left out: the embedding of aligned data, samples at test time, the paper's seed 1024.
"""

from msajax.models.alr.system import ALR as ALR
