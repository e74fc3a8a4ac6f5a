"""Heads: trainable models on cached features. LEC-VAD's equations are importable from here for anyone to check."""

from vadpipe.models.lec_vad import HeadOutput, LecVad
from vadpipe.models.localize import outer_inner_score, temporal_nms
from vadpipe.models.losses import consistency_loss, gaussian_mixture_scores, gmm_loss, topk_mean

__all__ = [
    "HeadOutput",
    "LecVad",
    "consistency_loss",
    "gaussian_mixture_scores",
    "gmm_loss",
    "outer_inner_score",
    "temporal_nms",
    "topk_mean",
]
