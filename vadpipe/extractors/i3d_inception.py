"""``i3d-inception``: Inception-I3D on RGB, the 1024-d pooled feature of a snippet of 16 frames.

Carreira and Zisserman, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset (CVPR 2017); parameter names
and paddings of the conversion to PyTorch that is circulated as ``i3d_rgb.pt`` and ``model_rgb.pth``.

Legend: N snippets, F = 16 frames, C channels, T, H, W time and space, D = 1024.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vadpipe.extractors.snippets import SnippetEncoder, SnippetNetwork

DIM = 1024

_Size3 = tuple[int, int, int]

_MIXED: dict[str, tuple[int, int, int, int, int, int]] = {
    # branch 0; branch 1 narrow, wide; branch 2 narrow, wide; branch 3
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}


class Unit3D(nn.Module):
    """Convolution without bias, batch norm, ReLU. Padding is TensorFlow's SAME: kernel - stride, smaller half first."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.pad = (before, after) * 3 if before != after else ()
        padding = 0 if self.pad else before
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
        self.batch3d = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, outputs, T / stride, H / stride, W / stride)."""
        x = nn.functional.pad(x, self.pad) if self.pad else x
        normed: Tensor = self.batch3d(self.conv3d(x))
        return normed.relu_()


class Mixed(nn.Module):
    """Four branches side by side: 1x1x1; 1x1x1 and 3x3x3, twice; 3x3x3 maximum and 1x1x1."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        b0, narrow1, wide1, narrow2, wide2, b3 = widths
        self.branch_0 = Unit3D(inputs, b0, 1)
        self.branch_1 = nn.Sequential(Unit3D(inputs, narrow1, 1), Unit3D(narrow1, wide1, 3))
        self.branch_2 = nn.Sequential(Unit3D(inputs, narrow2, 1), Unit3D(narrow2, wide2, 3))
        self.branch_3 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), Unit3D(inputs, b3, 1))
        self.outputs = b0 + wide1 + wide2 + b3

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> (N, outputs, T, H, W)."""
        return torch.cat([self.branch_0(x), self.branch_1(x), self.branch_2(x), self.branch_3(x)], 1)


def _same_max_pool(kernel: _Size3, stride: _Size3) -> nn.MaxPool3d:
    """Zeros behind where TensorFlow's SAME puts them: what a ReLU gave is never below, so ceil mode is the same."""
    return nn.MaxPool3d(kernel, stride, ceil_mode=True)


class InceptionI3D(nn.Module):
    """(N, 3, 16, 224, 224) in -1 … 1 -> (N, 1024) float32, up to the pooled feature: the classifier is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d_1a_7x7 = Unit3D(3, 64, 7, 2)
        self.max_pool_2a = _same_max_pool((1, 3, 3), (1, 2, 2))
        self.conv3d_2b_1x1 = Unit3D(64, 64, 1)
        self.conv3d_2c_3x3 = Unit3D(64, 192, 3)
        self.max_pool_3a = _same_max_pool((1, 3, 3), (1, 2, 2))
        pools = {"mixed_4b": _same_max_pool((3, 3, 3), (2, 2, 2)), "mixed_5b": _same_max_pool((2, 2, 2), (2, 2, 2))}
        channels = 192
        for name, widths in _MIXED.items():
            if name in pools:
                self.add_module(f"max_pool_{name[6]}a", pools[name])
            mixed = Mixed(channels, widths)
            self.add_module(name, mixed)
            channels = mixed.outputs

    def forward(self, x: Tensor) -> Tensor:
        """Every layer in the order in which it was added, then the average over 2x7x7 and over time."""
        for layer in self.children():
            x = layer(x)
        # in float32 whatever the layers compute in: sums of 98 values are where bfloat16 would lose most
        return nn.functional.avg_pool3d(x.float(), (2, 7, 7), stride=1).mean((2, 3, 4))


def prepare(snippets: Tensor) -> Tensor:
    """(N, F, H, W, 3) uint8 -> (N, 3, F, H, W) float32 in -1 … 1."""
    return snippets.permute(0, 4, 1, 2, 3).float().div_(255).mul_(2).sub_(1)


NETWORK = SnippetNetwork(
    stream="i3d-inception",
    model="i3d-inception-rgb",
    dim=DIM,
    geometry="short256-center224",
    build=InceptionI3D,
    prepare=prepare,
    left_out=("conv3d_0c_1x1.",),
)


def encoder(**options: Any) -> SnippetEncoder:
    """The encoder of the stream; options as in :class:`vadpipe.extractors.snippets.SnippetEncoder`."""
    return SnippetEncoder(NETWORK, **options)
