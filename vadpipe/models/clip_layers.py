"""Blocks that VadCLIP, AVadCLIP and CLIP's text tower share; parameters are named as in the released checkpoints.

Legend: B videos, T snippets (padded), N real snippets of the whole batch, d columns. Where padding is masked, layers
that treat every snippet alone get the N real rows only.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.models.layers import attend, lowered
from vadpipe.models.losses import snippet_mask

_QUICK = 1.702  # QuickGELU(x) = x sigmoid(1.702 x)


def full_precision(x: Tensor) -> torch.autocast:
    """Context without autocast, for what must stay in float32: similarities, normalisation, losses, the text tower."""
    return torch.autocast(x.device.type, enabled=False)


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's activation, ``x sigmoid(1.702 x)``."""
    return x * torch.sigmoid(_QUICK * x)


class Snippets:
    """Which snippets of a padded batch are real, and what becomes of the others.

    ``size`` snippets are given, ``lengths`` (B,) of them real; T = ``size``. With ``masked`` False, T is
    ``max_snippets`` and padding takes part in everything but the similarity graph, as in the released models.
    ``mask`` (B, T) marks the real snippets, None where all are real; ``hidden`` is the same mask where padding is to be
    hidden, else None.
    """

    def __init__(self, lengths: Tensor, size: int, max_snippets: int, *, masked: bool = True) -> None:
        shortest, longest = (int(value) for value in torch.aminmax(lengths))
        if lengths.ndim != 1 or shortest < 1 or longest > size:
            raise ValueError(f"lengths: got {lengths.tolist()}, expected (B,) values in 1 … {size}")
        if size > max_snippets:
            raise ValueError(f"got {size} snippets, expected at most max_snippets, {max_snippets}; cut them in windows")
        self.size, self.shape = size, (len(lengths), size if masked else max_snippets)
        self.mask = snippet_mask(lengths, self.shape[1]) if shortest < self.shape[1] else None
        self.hidden = self.mask if masked else None
        self._index = None if self.hidden is None else self.hidden.flatten().nonzero().squeeze(1)

    def enter(self, x: Tensor) -> Tensor:
        """(B, size, d) -> (B, T, d) with zeros at padding, whatever was there."""
        if self.mask is not None:
            x = F.pad(x * self.mask[:, : self.size, None], (0, 0, 0, self.shape[1] - self.size))
        return x

    def clear(self, x: Tensor) -> Tensor:
        """(B, T, d) with zeros at padding, where padding is masked."""
        return x if self.hidden is None else x * self.hidden[..., None]

    def take(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (N, d): the rows that count."""
        rows = x.flatten(0, 1)
        return rows if self._index is None else rows.index_select(0, self._index)

    def put(self, rows: Tensor) -> Tensor:
        """(N, d) -> (B, T, d): the reverse of :meth:`take`, zeros at padding."""
        batch, size = self.shape
        if self._index is not None:
            rows = rows.new_zeros(batch * size, rows.shape[1]).index_copy(0, self._index, rows)
        return rows.view(batch, size, rows.shape[1])


class LayerNorm(nn.LayerNorm):
    """Layer norm in float32 whatever the input is, as in CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) -> (…, d) in the input's dtype."""
        with full_precision(x):
            return F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps).to(
                x.dtype
            )


class Mlp(nn.Module):
    """``c_proj(QuickGELU(c_fc(x)))``, 4x wide.

    QuickGELU(x) is SiLU(1.702 x) / 1.702: with the factor in the weights it is one fused pass over the wide rows, which
    pays where there are more rows than weights.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) -> (…, d)."""
        if x.numel() < self.c_fc.weight.numel():
            out: Tensor = self.c_proj(quick_gelu(self.c_fc(x)))
            return out
        wide = F.silu(F.linear(x, _QUICK * self.c_fc.weight, _QUICK * self.c_fc.bias))
        return F.linear(wide, self.c_proj.weight / _QUICK, self.c_proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention with the parameters of ``nn.MultiheadAttention``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * dim, dim)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, keys: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """(n, L, d) -> (n, L, d); ``keys`` (n, 1, 1, L) bool: which positions may be attended to."""
        count, length, dim = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(count, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, keys, causal=causal)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(count, length, dim))
        return out


class ResidualBlock(nn.Module):
    """CLIP's pre-norm transformer block."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(dim, heads)
        self.ln_1 = LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.ln_2 = LayerNorm(dim)

    def forward(self, x: Tensor, keys: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """(n, L, d) -> (n, L, d)."""
        x = x + self.attn(self.ln_1(x), keys, causal=causal)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class WindowTransformer(nn.Module):
    """Transformer blocks inside equal windows of ``window`` snippets; the last window takes what is left.

    Windows are folded into the batch axis: no T x T mask. Windows without a real snippet are left out.
    """

    def __init__(self, dim: int, heads: int, layers: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.resblocks = nn.ModuleList(ResidualBlock(dim, heads) for _ in range(layers))

    def forward(self, x: Tensor, snippets: Snippets) -> Tensor:
        """(B, T, d) -> (B, T, d); rows at padding mean nothing where padding is masked."""
        batch, size, dim = x.shape
        rest = -size % self.window
        rows = F.pad(x, (0, 0, 0, rest)).view(-1, self.window, dim) if rest else x.reshape(-1, self.window, dim)
        count, keys, chosen = len(rows), None, None
        if rest or snippets.hidden is not None:
            real = x.new_ones(batch, size, dtype=torch.bool) if snippets.hidden is None else snippets.hidden
            real = F.pad(real, (0, rest)).view(-1, self.window)
            chosen = real.any(dim=1).nonzero().squeeze(1)
            rows, keys = rows.index_select(0, chosen), real[chosen][:, None, None, :]
        for block in self.resblocks:
            rows = block(rows, keys)
        if chosen is not None:
            rows = rows.new_zeros(count, self.window, dim).index_copy(0, chosen, rows)
        return rows.reshape(batch, size + rest, dim)[:, :size]


@lru_cache(maxsize=8)
def distance_adjacency(size: int, device: torch.device) -> Tensor:
    """(T, T) ``exp(-|i - j| / e)``, not normalised; made once per size and device."""
    with torch.inference_mode(mode=False):  # else a matrix first made while scoring could not be trained with
        index = torch.arange(size, device=device, dtype=torch.float32)
        return torch.exp(-(index[:, None] - index[None, :]).abs() / math.e)


def similarity_adjacency(x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, T, d) -> (B, T, T): softmax of the cosine similarities, values of 0.7 and less set to 0 before it.

    Only real snippets take part; columns of padding are 0.
    """
    with full_precision(x):  # coarser numbers would move values over the threshold
        unit = F.normalize(x.float(), dim=-1, eps=1e-10)
        similarity = F.threshold(unit @ unit.transpose(1, 2), 0.7, 0.0)
        if mask is not None:
            similarity = similarity.masked_fill(~mask[:, None, :], float("-inf"))
        return similarity.softmax(dim=-1)


class GraphConvolution(nn.Module):
    """``A X W`` plus a residual: Conv1d over 5 snippets where the width changes, else the identity."""

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(input_dim, dim)))
        self.residual = nn.Conv1d(input_dim, dim, 5, padding=2) if input_dim != dim else None

    def forward(self, x: Tensor, adjacency: Tensor, rows: Tensor | None = None) -> Tensor:
        """(B, T, input_dim) and adjacency (T, T) or (B, T, T) -> QuickGELU of the sum, (B, T, dim).

        ``A (X W)``: X W has half as many columns as X. rows (B, T) bool: rows of A that are 0 elsewhere.
        """
        residual = x if self.residual is None else self.residual(x.transpose(1, 2)).transpose(1, 2)
        return self.spread(x @ self.weight, residual, adjacency, rows)

    def spread(self, x: Tensor, residual: Tensor, adjacency: Tensor, rows: Tensor | None = None) -> Tensor:
        """What :meth:`forward` does with X W and the residual, (B, T, dim) each."""
        mixed = adjacency @ x
        if rows is not None:
            mixed = mixed * rows[..., None]
        return quick_gelu(mixed + residual)


def start_both(first: GraphConvolution, second: GraphConvolution, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """X W and residual of two layers that change the width of the same x (B, T, input_dim), each as one product."""
    layers = (first, second)
    convolutions = [layer.residual for layer in layers if layer.residual is not None]
    weight, bias = (torch.cat([getattr(layer, name) for layer in convolutions]) for name in ("weight", "bias"))
    residual = F.conv1d(x.transpose(1, 2), weight, bias, padding=2).transpose(1, 2)
    mixed = x @ torch.cat([layer.weight for layer in layers], dim=1)
    return list(zip(mixed.chunk(2, dim=-1), residual.chunk(2, dim=-1), strict=True))


class VideoEncoder(nn.Module):
    """VadCLIP's video path: learned positions, windowed transformer, two graph branches, a linear layer."""

    def __init__(self, dim: int, heads: int, layers: int, window: int, max_snippets: int) -> None:
        super().__init__()
        half = dim // 2
        self.frame_position_embeddings = nn.Embedding(max_snippets, dim)
        nn.init.normal_(self.frame_position_embeddings.weight, std=0.01)
        self.temporal = WindowTransformer(dim, heads, layers, window)
        self.gc1, self.gc2 = GraphConvolution(dim, half), GraphConvolution(half, half)  # similarity
        self.gc3, self.gc4 = GraphConvolution(dim, half), GraphConvolution(half, half)  # distance
        self.linear = nn.Linear(dim, dim)

    def forward(self, x: Tensor, snippets: Snippets) -> Tensor:
        """(B, T, d), zeros at padding -> (N, d)."""
        positions = self.frame_position_embeddings.weight[: x.shape[1]]
        x = snippets.clear(self.temporal(x + positions, snippets))
        similar, x = similarity_adjacency(x, snippets.mask), lowered(x)
        # Released: rows of padding are 0 in the similarity graph, while padding takes part in all the rest.
        rows = snippets.mask if snippets.hidden is None else None
        near = lowered(distance_adjacency(x.shape[1], x.device))
        similar = lowered(similar)
        (mixed, residual), started = start_both(self.gc1, self.gc3, x)
        left = self.gc2(self.gc1.spread(mixed, residual, similar, rows), similar, rows)
        right = self.gc4(snippets.clear(self.gc3.spread(*started, near)), near)
        out: Tensor = self.linear(snippets.take(torch.cat([left, right], dim=-1)))
        return out
