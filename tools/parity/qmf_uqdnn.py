"""uQDNN of qiuchili/monosenti, the global form of QMF."""

from tools.parity.qmf import reproduce

__all__ = ["reproduce"]
