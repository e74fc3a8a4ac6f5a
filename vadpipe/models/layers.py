"""Building blocks of the heads. Legend: B videos, T snippets, d columns; ``mask`` (B, T) bool marks real snippets."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SHORT = 64  # snippets in a window


def lowered(x: Tensor) -> Tensor:
    """``x`` in autocast's type where that is on, so that several layers share one conversion."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Softmax attention of q, k, v (…, L, d), as ``F.scaled_dot_product_attention``; ``allowed`` (…, L, L) bool.

    For windows in bfloat16 on a CPU it is two products, with the softmax in float32: the fused kernel's backward pass
    takes two to six times as long there.
    """
    if causal or q.dtype != torch.bfloat16 or q.device.type != "cpu" or k.shape[-2] > _SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, is_causal=causal)
    scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    mixed: Tensor = scores.softmax(dim=-1).to(v.dtype) @ v
    return mixed


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second-last axis: (…, L, d) -> (…, L, d); masked keys are never read."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads: got {heads}, expected a divisor of {dim}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """``keys`` (…, L) bool: which positions may be attended to; a row without any attends to itself."""
        *lead, length, dim = x.shape
        q, k, v = self.qkv(x).view(*lead, length, 3, self.heads, dim // self.heads).movedim(-3, 0).transpose(-3, -2)
        allowed = None
        if keys is not None:
            own = torch.eye(length, dtype=torch.bool, device=x.device)
            allowed = (keys[..., None, None, :] | own).expand(*lead, 1, length, length)
        mixed = attend(q, k, v, allowed)
        out: Tensor = self.out(mixed.transpose(-3, -2).reshape(*lead, length, dim))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm attention and a 4x GELU MLP with residual connections."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """(…, L, d) -> (…, L, d)."""
        x = x + self.dropout(self.attention(self.norm_attention(x), keys))
        out: Tensor = x + self.dropout(self.mlp(self.norm_mlp(x)))
        return out


class LocalTransformer(nn.Module):
    """Transformer blocks inside windows of ``window`` snippets, no exchange between windows.

    The paper says "overlapping windows", but also that windows exchange nothing; VadCLIP, whose set-up it follows,
    uses equal blocks: ``overlap = 0``. With an overlap, a snippet's rows from the windows that hold it are averaged.
    """

    def __init__(self, dim: int, heads: int, layers: int, window: int, overlap: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= overlap < window:
            raise ValueError(f"window_overlap: got {overlap}, expected 0 … {window - 1}")
        self.window, self.overlap = window, overlap
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, dropout) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        size, step = x.shape[1], self.window - self.overlap
        if self.overlap == 0:
            return self._apart(x, mask)
        windows = max(math.ceil((size - self.overlap) / step), 1)
        padded = (windows - 1) * step + self.window
        x, mask = F.pad(x, (0, 0, 0, padded - size)), F.pad(mask, (0, padded - size))
        index = torch.arange(self.window, device=x.device) + step * torch.arange(windows, device=x.device)[:, None]
        rows, keys = x[:, index], mask[:, index]
        for block in self.blocks:
            rows = block(rows, keys)
        # A window counts for a video where it holds a real snippet that the one before it does not: else the mean over
        # overlapping windows would depend on how far the batch is padded.
        starts, real = index[:, 0], mask.sum(dim=1, keepdim=True)
        counts = ((starts == 0) | (starts + self.overlap < real)).to(x.dtype)[..., None].expand(*rows.shape[:3])
        flat = index.flatten()
        mixed = torch.zeros_like(x).index_add(1, flat, (rows * counts[..., None]).flatten(1, 2).to(x.dtype))
        times = torch.zeros_like(x[..., 0]).index_add(1, flat, counts.flatten(1, 2))
        return (mixed / times.clamp(min=1)[..., None])[:, :size]

    def _apart(self, x: Tensor, mask: Tensor) -> Tensor:
        """The same without overlap: windows are views, and there is nothing to average."""
        batch, size, dim = x.shape
        rest = -size % self.window
        rows = F.pad(x, (0, 0, 0, rest)).view(batch, -1, self.window, dim)
        keys = F.pad(mask, (0, rest)).view(batch, -1, self.window)
        for block in self.blocks:
            rows = block(rows, keys)
        return rows.flatten(1, 2)[:, :size]


def cosine_graph(x: Tensor) -> Tensor:
    """(B, T, d) -> (B, T, T) cosine similarity of every pair of snippets (eq. 1)."""
    unit = F.normalize(x, dim=-1)
    return unit @ unit.transpose(1, 2)


def _masked_softmax(similarity: Tensor, mask: Tensor) -> Tensor:
    return similarity.masked_fill(~mask[:, None, :], float("-inf")).softmax(dim=-1)


class CosineGraph(nn.Module):
    """``GELU(softmax_row(cos(X, X)) X W)``, eq. 1, plus X where ``residual``.

    Differs from the paper: the residual. Row softmax of cosines is nearly uniform, so eq. 1 alone averages every
    snippet's own signal away.
    """

    def __init__(self, dim: int, residual: bool = True) -> None:
        super().__init__()
        self.weight = nn.Linear(dim, dim, bias=False)
        self.residual = residual

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        mixed = F.gelu(self.weight(_masked_softmax(cosine_graph(x), mask) @ lowered(x)))
        return x + mixed if self.residual else mixed


class TwoBranchGraph(nn.Module):
    """VadCLIP's graph: similarity thresholded at 0.7 and distance ``exp(-|i - j| / e)``, concatenated.

    Each branch is two graph convolutions d -> d/2 -> d/2. Values under the threshold become 0 and still take part in
    the softmax; the distance branch is not normalised, as in the released code, but it leaves padding out.
    """

    def __init__(self, dim: int, residual: bool = True) -> None:
        super().__init__()
        half = dim // 2
        self.similar = nn.ModuleList([nn.Linear(dim, half), nn.Linear(half, half)])
        self.near = nn.ModuleList([nn.Linear(dim, half), nn.Linear(half, half)])
        self.join = nn.Linear(2 * half, dim)
        self.residual = residual

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        similarity = cosine_graph(x)
        similar = _masked_softmax(torch.where(similarity > 0.7, similarity, 0.0), mask)
        index = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        near = torch.exp(-(index[:, None] - index[None, :]).abs() / math.e) * mask[:, None, :]
        left, right = x, x
        for first, second in zip(self.similar, self.near, strict=True):
            left, right = F.gelu(first(similar @ left)), F.gelu(second(near @ right))
        mixed: Tensor = self.join(torch.cat([left, right], dim=-1))
        return x + mixed if self.residual else mixed


class InputStage(nn.Module):
    """From stored features to the width that a head works in; without state where there is nothing to do.

    ``standardise``: ``columns`` subtracts each column's mean over the training snippets and divides by its deviation,
    ``pca`` projects on their first principal components. Features of another width are then projected linearly.
    """

    mean: Tensor
    std: Tensor
    components: Tensor

    def __init__(self, input_dim: int, dim: int, standardise: str, dropout: float) -> None:
        super().__init__()
        self.input_dim, self.dim, self.standardise = input_dim, dim, standardise
        self.dropout = nn.Dropout(dropout)
        if standardise != "none":
            self.register_buffer("mean", torch.zeros(input_dim))
        if standardise == "columns":
            self.register_buffer("std", torch.ones(input_dim))
        if standardise == "pca":
            self.register_buffer("components", torch.zeros(input_dim, dim))
        self.project = nn.Linear(input_dim, dim) if input_dim != dim and standardise != "pca" else None

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, covariance: Tensor) -> None:
        """Take the training snippets' mean (input_dim,) and covariance (input_dim, input_dim), float64."""
        if self.standardise != "none":
            self.mean.copy_(mean)
        if self.standardise == "columns":
            self.std.copy_(covariance.diagonal().sqrt().clamp(min=1e-6))
        if self.standardise == "pca":
            self.components.copy_(principal_components(covariance, self.dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, input_dim), any float type -> (B, T, dim) float32; ValueError for another width."""
        if x.shape[-1] != self.input_dim:
            raise ValueError(f"features: got {x.shape[-1]} columns, expected {self.input_dim}")
        x = x.float()
        if self.standardise != "none":
            x = x - self.mean
        if self.standardise == "columns":
            x = x / self.std
        if self.standardise == "pca":
            x = x @ self.components
        x = self.dropout(x)
        return x if self.project is None else self.project(x).float()


def principal_components(covariance: Tensor, dim: int, norm: float = 10.0) -> Tensor:
    """(d_in, dim) projection on the first principal components, zero columns where there are fewer.

    Scaled so that the root mean square norm of a projected row is ``norm``; signs are fixed, so that the same data give
    the same projection.
    """
    values, vectors = torch.linalg.eigh(covariance)
    values, vectors = values.flip(0)[:dim].clamp(min=0), vectors.flip(1)[:, :dim]
    largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
    scale = norm / values.sum().sqrt().clamp(min=1e-12)
    return F.pad(vectors * largest.sign() * scale, (0, dim - vectors.shape[1])).float()
