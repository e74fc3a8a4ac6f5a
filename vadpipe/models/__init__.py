"""Heads: trainable models on cached features. LEC-VAD's equations are importable from here for anyone to check."""

from vadpipe.models.avadclip import AVadClip, AVadClipStudent
from vadpipe.models.clip_branches import TwoBranchOutput
from vadpipe.models.heads import HEADS, Head, HeadOutput, build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.lec_vad import LecVad, LecVadOutput
from vadpipe.models.localize import outer_inner_score, temporal_nms
from vadpipe.models.losses import consistency_loss, gaussian_mixture_scores, gmm_loss, topk_mean
from vadpipe.models.text_tower import TextTower
from vadpipe.models.vadclip import VadClip

__all__ = [
    "HEADS",
    "AVadClip",
    "AVadClipStudent",
    "Head",
    "HeadInputs",
    "HeadOutput",
    "LecVad",
    "LecVadOutput",
    "TextTower",
    "TwoBranchOutput",
    "VadClip",
    "build_head",
    "consistency_loss",
    "gaussian_mixture_scores",
    "gmm_loss",
    "outer_inner_score",
    "temporal_nms",
    "topk_mean",
]
