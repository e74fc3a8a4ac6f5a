"""Losses of VadCLIP and AVadCLIP; padding never counts. All results are float32, whatever the inputs are.

Legend: B videos, T snippets (padded), C+1 classes with ``normal`` at index 0, ``lengths`` (B,) int64 real snippets,
targets (B, C+1) multi-hot. Equation numbers are AVadCLIP's. Each is a mean over the videos or does not depend on them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vadpipe.models.clip_branches import TwoBranchOutput
from vadpipe.models.clip_layers import full_precision
from vadpipe.models.losses import mean_of_top, snippet_mask


def _pooled(scores: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, classes) -> (B, classes): mean of the floor(n / 16 + 1) highest, one more than in LEC-VAD."""
    return mean_of_top(scores, lengths, lengths // 16 + 1)


def two_branch_losses(
    out: TwoBranchOutput, targets: Tensor, lengths: Tensor, alpha: Tensor | None, text_weight: float
) -> dict[str, Tensor]:
    """``total`` = ``bce`` + ``align`` + ``text_weight`` times ``text``, as scalars."""
    with full_precision(out.logits):
        parts = {
            "bce": binary_loss(out.logits, targets, lengths),
            "align": alignment_loss(out.alignment, targets, lengths, alpha),
            "text": text_separation(out.text),
        }
    return {"total": parts["bce"] + parts["align"] + text_weight * parts["text"], **parts}


def binary_loss(logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """L_BCE: pooled scores against whether the video is anomalous; logits (B, T).

    As in the released code, a video is anomalous where it is not labelled normal.
    """
    pooled = _pooled(logits.float().sigmoid()[..., None], lengths)[:, 0]
    return F.binary_cross_entropy(pooled, 1 - targets[:, 0].float())


def alignment_loss(alignment: Tensor, targets: Tensor, lengths: Tensor, alpha: Tensor | None = None) -> Tensor:
    """L_NCE, or with ``alpha`` (C+1,) L_ALIGN = (L_NCE + L_FOCAL) / 2; alignment (B, T, C+1).

    Labels are divided by their sum. L_FOCAL has gamma 2 and a learned weight per class, as released; both are of the
    labels' mean, so for several labels it is not the sum of their focal losses.
    """
    share = targets.float() / targets.sum(dim=1, keepdim=True)
    log_p = F.log_softmax(_pooled(alignment, lengths), dim=1)
    nce = -(share * log_p).sum(dim=1)
    if alpha is None:
        return nce.mean()
    p = (share * log_p.exp()).sum(dim=1)
    focal = (share * alpha.float()).sum(dim=1) * (1 - p).square() * nce
    return ((nce + focal) / 2).mean()


def text_separation(text: Tensor) -> Tensor:
    """Mean over the anomaly classes of |cos(normal, class)|; text (C+1, d)."""
    unit = F.normalize(text.float(), dim=-1)
    return (unit[1:] @ unit[0]).abs().mean()


def distillation_loss(student: Tensor, teacher: Tensor, theta: Tensor | None, lengths: Tensor | None = None) -> Tensor:
    """L_UKD (eq. 11) with log-variance ``theta``, without it the mean squared error; all (B, T, d).

    Differs from the paper, as the released code does: the squared difference is divided by 1e-6 + 2 sigma^2, and the
    mean is over columns too. ``lengths`` None: padding counts as well, as released; else the mean over each video's
    real snippets, then over videos.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"teacher's features: got {tuple(teacher.shape)}, expected {tuple(student.shape)}; both need the same dim, "
            "and the same max_snippets where padding is 'released'"
        )
    values = (teacher.detach().float() - student.float()).square()
    if theta is not None:
        values = values / (1e-6 + 2 * theta.float().exp()) + theta.float()
    per_snippet = values.mean(dim=-1)
    if lengths is None:
        return per_snippet.mean()
    mask = snippet_mask(lengths, per_snippet.shape[1])
    return (torch.where(mask, per_snippet, 0.0).sum(dim=1) / lengths).mean()
