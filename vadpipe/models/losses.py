"""LEC-VAD's equations as pure functions. Padding (snippets at and after ``lengths``) never counts in any of them.

Legend: B videos, T snippets (padded), C+1 classes with ``normal`` at index 0, ``lengths`` (B,) int64 real snippets.
Equation numbers are those of LEC-VAD (ICML 2025). All results are float32, whatever the inputs are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def snippet_mask(lengths: Tensor, size: int) -> Tensor:
    """(B, T) bool, True for the real snippets of each video."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def _checked_lengths(lengths: Tensor, size: int) -> Tensor:
    if lengths.ndim != 1 or int(lengths.min()) < 1 or int(lengths.max()) > size:
        raise ValueError(f"lengths: got {lengths.tolist()}, expected (B,) values in 1 … {size}")
    return lengths


def topk_mean(scores: Tensor, lengths: Tensor, k_divisor: int = 16) -> Tensor:
    """Mean of the K highest scores over time, K = max(floor(n / k_divisor), 1) with n the real length (eqs. 2, 6).

    scores (B, T, classes) -> (B, classes); each class is pooled on its own snippets.
    """
    return mean_of_top(scores, lengths, (lengths // k_divisor).clamp(min=1))


def mean_of_top(scores: Tensor, lengths: Tensor, k: Tensor) -> Tensor:
    """Mean over time of each video's ``k`` highest scores: (B, T, classes), k (B,) in 1 … lengths -> (B, classes)."""
    lengths = _checked_lengths(lengths, scores.shape[1])
    hidden = scores.float().masked_fill(~snippet_mask(lengths, scores.shape[1])[..., None], float("-inf"))
    highest = hidden.topk(int(k.max()), dim=1).values
    taken = torch.arange(highest.shape[1], device=scores.device)[None, :, None] < k[:, None, None]
    return highest.masked_fill(~taken, 0.0).sum(dim=1) / k[:, None]


def agnostic_loss(s_b: Tensor, anomalous: Tensor, lengths: Tensor, *, literal: bool = False) -> Tensor:
    """Category-agnostic MIL loss (eqs. 2, 3), mean over videos.

    s_b (B, T, 2) softmax scores, anomalous (B,) 0/1. Default: binary cross-entropy on the top-K mean of s_b[:, :, 1].

    Differs from the paper unless ``literal``: eq. 3 pools the normal class on its own K most normal snippets, so a
    normal video may keep any number of high anomaly scores.
    """
    pooled = topk_mean(s_b, lengths).clamp(1e-6, 1 - 1e-6)
    target = anomalous.float()
    if literal:
        return -(target * pooled[:, 1].log() + (1 - target) * pooled[:, 0].log()).mean()
    return F.binary_cross_entropy(pooled[:, 1], target)


def aware_loss(s_aware: Tensor, targets: Tensor, lengths: Tensor, tau: float = 0.07) -> Tensor:
    """Category-aware MIL cross-entropy (eqs. 6, 7), mean over videos.

    s_aware (B, T, C+1) in [-1, 2]; targets (B, C+1) multi-hot, divided by its sum here.
    Paper says log p of the pooled score itself; it can be negative, so we take log softmax(p / tau), tau as VadCLIP.
    """
    pooled = topk_mean(s_aware, lengths)
    share = targets.float() / targets.sum(dim=1, keepdim=True)
    return -(share * F.log_softmax(pooled / tau, dim=1)).sum(dim=1).mean()


def gaussian_mixture_scores(alpha: Tensor, mu: Tensor, sigma: Tensor, lengths: Tensor, beta: float = 0.7) -> Tensor:
    """The diagonal of the Gaussian mixture masks (eq. 12): s_gmm (B, T), 0 at padding.

    ``s_gmm[t] = sum_c alpha[t, c] exp(-beta (j / n - mu[t, c])^2 / sigma[t, c]^2)`` at j = t, positions counted 1 … n.
    alpha, mu in [0, 1], sigma > 0: each (B, T, classes); every class that is passed is summed, so the caller leaves
    ``normal`` out (see :mod:`vadpipe.models.lec_vad` for why). Training needs no more than this diagonal, O(T C).
    """
    lengths = _checked_lengths(lengths, alpha.shape[1])
    position = torch.arange(1, alpha.shape[1] + 1, device=alpha.device) / lengths[:, None]
    distance = position[..., None] - mu.float()
    scores = (alpha.float() * torch.exp(-beta * distance**2 / sigma.float() ** 2)).sum(dim=-1)
    return scores.masked_fill(~snippet_mask(lengths, alpha.shape[1]), 0.0)


def gaussian_mixture_masks(alpha: Tensor, mu: Tensor, sigma: Tensor, beta: float = 0.7) -> Tensor:
    """The whole masks G[t, j] of one unpadded video (eq. 12, Figure 4): (T, classes) each -> (T, T)."""
    size = alpha.shape[0]
    position = torch.arange(1, size + 1, device=alpha.device) / size
    distance = position[None, None, :] - mu.float()[..., None]
    masks = torch.exp(-beta * distance**2 / sigma.float()[..., None] ** 2)
    return (alpha.float()[..., None] * masks).sum(dim=1)


def _anomaly_scores(s_b: Tensor) -> Tensor:
    return (s_b[..., 1] if s_b.ndim == 3 else s_b).float()


def gmm_loss(s_gmm: Tensor, s_b: Tensor, lengths: Tensor) -> Tensor:
    """Euclidean distance between mixture and anomaly scores over the real snippets (eq. 8), mean over videos.

    s_gmm (B, T); s_b (B, T, 2), of which column 1 is used, or (B, T). An epsilon inside the root keeps the gradient
    finite at distance 0.
    """
    mask = snippet_mask(_checked_lengths(lengths, s_gmm.shape[1]), s_gmm.shape[1])
    squares = (s_gmm.float() - _anomaly_scores(s_b)).square().masked_fill(~mask, 0.0)
    return (squares.sum(dim=1) + 1e-12).sqrt().mean()


def consistency_loss(s_m: Tensor, s_b: Tensor, lengths: Tensor) -> Tensor:
    """``mean_t |1 - s_m[t, 0] - s_b[t, 1]|`` over the real snippets (eq. 9), mean over videos.

    s_m (B, T, C+1); s_b (B, T, 2), of which column 1 is used, or (B, T).
    """
    mask = snippet_mask(_checked_lengths(lengths, s_m.shape[1]), s_m.shape[1])
    gaps = (1 - s_m[..., 0].float() - _anomaly_scores(s_b)).abs().masked_fill(~mask, 0.0)
    return (gaps.sum(dim=1) / lengths).mean()
