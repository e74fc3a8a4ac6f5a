"""How AVadCLIP joins the two streams: the rows of Table 5.

Legend: B videos, T snippets, N real snippets of the batch, d columns. Rows (N, d) of both streams in, X_av (N, d) out;
``heard`` (B, T) bool says which snippets have sound, None: all. X_av of the others is not used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.models.clip_layers import Snippets


class AdaptiveFusion(nn.Module):
    """Eqs. 1-3: ``v + sigmoid(Linear([v; a])) * Linear(GELU(Linear([v; a])))``; named as in the released weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate_proj = nn.Sequential(nn.Linear(2 * dim, dim), nn.Sigmoid())
        self.residual_proj = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, video: Tensor, audio: Tensor, _snippets: Snippets, _heard: Tensor | None = None) -> Tensor:
        """(N, d) and (N, d) -> (N, d). Both projections of [v; a] are one matrix product."""
        first = (self.gate_proj[0], self.residual_proj[0])
        weight, bias = (torch.cat([getattr(layer, name) for layer in first]) for name in ("weight", "bias"))
        gate, hidden = F.linear(torch.cat([video, audio], dim=-1), weight, bias).chunk(2, dim=-1)
        out: Tensor = video + gate.sigmoid() * self.residual_proj[2](F.gelu(hidden))
        return out


class ConcatFusion(nn.Module):
    """A linear layer on [v; a]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.join = nn.Linear(2 * dim, dim)

    def forward(self, video: Tensor, audio: Tensor, _snippets: Snippets, _heard: Tensor | None = None) -> Tensor:
        """(N, d) and (N, d) -> (N, d)."""
        out: Tensor = self.join(torch.cat([video, audio], dim=-1))
        return out


class AddFusion(nn.Module):
    """``v + a``; takes the width only to be built like the others."""

    def __init__(self, _dim: int) -> None:
        super().__init__()

    def forward(self, video: Tensor, audio: Tensor, _snippets: Snippets, _heard: Tensor | None = None) -> Tensor:
        """(N, d) and (N, d) -> (N, d)."""
        return video + audio


class CrossAttentionFusion(nn.Module):
    """Every video snippet attends to the whole video's audio; added to v. The paper gives no more than the name."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = 8 if dim % 8 == 0 else 1
        self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, video: Tensor, audio: Tensor, snippets: Snippets, heard: Tensor | None = None) -> Tensor:
        """(N, d) and (N, d) -> (N, d)."""
        batch, size = snippets.shape
        padded = snippets.put(self.query(video)), *snippets.put(self.key_value(audio)).chunk(2, dim=-1)
        q, k, v = (x.reshape(batch, size, self.heads, -1).transpose(1, 2) for x in padded)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=_keys(snippets.hidden, heard))
        out: Tensor = video + self.out(snippets.take(mixed.transpose(1, 2).flatten(2)))
        return out


def _keys(real: Tensor | None, heard: Tensor | None) -> Tensor | None:
    """(B, 1, 1, T): snippets that are real and have sound; all where a video has none, as no key at all gives NaN."""
    if heard is not None:
        real = heard if real is None else heard & real
        real = real | ~real.any(dim=1, keepdim=True)
    return None if real is None else real[:, None, None, :]


FUSIONS = {
    "adaptive": AdaptiveFusion,
    "concat": ConcatFusion,
    "add": AddFusion,
    "cross_attention": CrossAttentionFusion,
}
"""Setting ``fusion`` -> class, built as ``FUSIONS[name](dim)``."""
