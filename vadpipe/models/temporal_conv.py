"""Convolutions over time: AVadCLIP's audio path and the student's refinement.

Parameters are named as in the released checkpoints. Inside, rows lie as (B, d, T), as convolutions want them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.models.clip_layers import Snippets
from vadpipe.models.layers import lowered


class CausalConvolution(nn.Module):
    """Weight-normed Conv1d of kernel 2 that looks back ``dilation`` snippets: ``weight = g v / |v|``."""

    def __init__(self, dim: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        plain = nn.Conv1d(dim, dim, 2)
        assert plain.bias is not None  # noqa: S101  # for the type checker
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(plain.weight.detach(), dim=(1, 2), keepdim=True))
        self.weight_v, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, T) -> (B, d, T)."""
        length = torch.linalg.vector_norm(self.weight_v, dim=(1, 2), keepdim=True)
        weight = self.weight_v * (self.weight_g / length)
        return F.conv1d(x, weight, self.bias, padding=self.dilation, dilation=self.dilation)[..., : x.shape[2]]


class CausalBlock(nn.Module):
    """Two causal convolutions, each with ReLU and dropout, and a residual with a ReLU after the sum."""

    def __init__(self, dim: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = CausalConvolution(dim, dilation), CausalConvolution(dim, dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, T) -> (B, d, T)."""
        hidden = self.dropout(F.relu(self.conv1(x)))
        return F.relu(x + self.dropout(F.relu(self.conv2(hidden))))


class TemporalConvNet(nn.Module):
    """AVadCLIP's audio path: causal blocks with dilations 1, 2, 4. Later snippets, padding too, never count."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.network = nn.Sequential(*(CausalBlock(dim, dilation, dropout) for dilation in (1, 2, 4)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        out: Tensor = self.network(lowered(x).transpose(1, 2))
        return out.transpose(1, 2)


class _ResidualConvolution(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(dim, dim, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x)
        return out


class _LogVariance(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        wide = nn.Conv1d(dim, dim, 3, padding=1)
        self.theta = nn.Sequential(nn.Conv1d(dim, dim, 1), nn.ReLU(), wide, nn.Conv1d(dim, dim, 1), nn.ReLU())

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        hidden = self.theta[1](self.theta[0](x))
        hidden = hidden if mask is None else hidden * mask
        for layer in list(self.theta)[2:]:
            hidden = layer(hidden)
        out: Tensor = x + hidden
        return out


class Refinement(nn.Module):
    """The student's features and their log-variance: three blocks ``x + ReLU(Conv1d(x))``, and a branch beside them.

    Differs from the paper, as the released models do: it has one such block.
    """

    def __init__(self, dim: int, *, variance: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(_ResidualConvolution(dim) for _ in range(3)))
        self.theta = _LogVariance(dim) if variance else None

    def forward(self, x: Tensor, snippets: Snippets) -> tuple[Tensor, Tensor | None]:
        """(B, T, d), zeros at padding -> features and log-variance, (B, T, d) each."""
        mask = None if snippets.hidden is None else snippets.hidden[:, None, :]
        x = x.transpose(1, 2)
        # The branch ends in -(x + ReLU(…)); the released code calls it theta and takes it for ln sigma^2.
        theta = None if self.theta is None else -self.theta(x, mask).transpose(1, 2)
        for block in self.conv:
            x = block(x) if mask is None else block(x * mask)
        return x.transpose(1, 2), theta
