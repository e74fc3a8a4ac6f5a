"""Heads: trainable models on cached features. LEC-VAD's equations are importable from here for anyone to check."""

from vadpipe.models.heads import HEADS, Head, HeadOutput, build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.lec_vad import LecVad, LecVadOutput
from vadpipe.models.localize import outer_inner_score, temporal_nms
from vadpipe.models.losses import consistency_loss, gaussian_mixture_scores, gmm_loss, topk_mean

__all__ = [
    "HEADS",
    "Head",
    "HeadInputs",
    "HeadOutput",
    "LecVad",
    "LecVadOutput",
    "build_head",
    "consistency_loss",
    "gaussian_mixture_scores",
    "gmm_loss",
    "outer_inner_score",
    "temporal_nms",
    "topk_mean",
]
