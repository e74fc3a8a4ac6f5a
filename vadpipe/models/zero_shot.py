"""Scores of categories that a head was not trained on, from the text alignment that it learned on others.

Legend: n positions of any shape, C+1 trained classes with ``normal`` first, K own categories.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def own_probabilities(trained: Tensor, own: Tensor) -> Tensor:
    """Alignment logits (…, C+1) of the trained classes and (…, K) of own ones -> (…, K) probabilities, float32.

    Each own category k stands alone against normal and all trained classes:
    ``p_k = exp(a_k) / (exp(a_k) + sum_c exp(a_c))``. So what else is in the user's file does not change it, and
    nothing here changes a trained category. For the same reason the K do not add up to anything.
    """
    return (own.float() - trained.float().logsumexp(dim=-1, keepdim=True)).sigmoid()


def reachable(reach: float, classes: int) -> tuple[float, float]:
    """Lowest and highest :func:`own_probabilities` where alignment logits lie within ±``reach``; ``classes`` C+1."""
    lowest, highest = (1 / (1 + classes * math.exp(min(2 * side, 700))) for side in (reach, -reach))
    return lowest, highest


def mean_prompt(features: Tensor) -> Tensor:
    """Text features (prompts, d) of one category -> (d,): the direction of the mean of unit vectors, as CLIP does.

    Its length is the prompts' mean length, which heads with learned prompts look at; a single prompt stays as it is.
    """
    if len(features) == 1:
        return features[0]
    lengths = torch.linalg.vector_norm(features, dim=-1)
    mean: Tensor = F.normalize(F.normalize(features, dim=-1).mean(dim=0), dim=0) * lengths.mean()
    return mean
