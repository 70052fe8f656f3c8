"""COSMIC: states of a dialogue's speakers, of what they feel and of what they want, that read common sense.

Ghosal et al., "COSMIC: COmmonSense knowledge for eMotion Identification in Conversations",
Findings of EMNLP 2020, in the form of declare-lab/conv-emotion @ 6128ca2
(commonsense_model.py), with the sizes and options of its IEMOCAP script. Its GRU over the
effects on the speaker, which nothing reads, is left out. As there, dropout is applied to the
states of all speakers after every turn, also to those of speakers who are silent.
"""

from msajax.models.cosmic.system import COSMIC as COSMIC
