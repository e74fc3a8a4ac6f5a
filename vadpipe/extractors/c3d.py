"""``c3d``: C3D trained on Sports-1M, the 4096-d output of fc6 after its ReLU, for a snippet of 16 frames.

Tran et al., Learning Spatiotemporal Features with 3D Convolutional Networks (ICCV 2015); parameter names of the
conversion to PyTorch that is circulated as ``c3d.pickle``.

Differs from the released code: it subtracts a mean for each of the 16 x 128 x 171 x 3 pixels, from a file that is not
part of the weights. Here each channel has one mean, the average of that file, so the model is named
``c3d-sports1m-channel-mean``; the authors of C3D themselves went over to channel means in their version 1.1.

Differs from the example beside ``c3d.pickle``, which feeds RGB and subtracts nothing: the network was trained on frames
as OpenCV reads them, BGR, less the mean.

Legend: N snippets, F = 16 frames, C channels, T, H, W time and space, D = 4096.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vadpipe.extractors.snippets import SnippetEncoder, SnippetNetwork

DIM = 4096

MEAN_BGR = (90.25, 97.66, 101.41)
"""Sports-1M's mean of blue, green and red, 0 … 255: the channel averages of the released mean file, as computed in
issue 1 of github.com/DavideA/c3d-pytorch, with the order of the channels."""

_CONVOLUTIONS = (
    # name, inputs, outputs
    ("conv1", 3, 64),
    ("conv2", 64, 128),
    ("conv3a", 128, 256),
    ("conv3b", 256, 256),
    ("conv4a", 256, 512),
    ("conv4b", 512, 512),
    ("conv5a", 512, 512),
    ("conv5b", 512, 512),
)
_POOLS = {
    "conv1": nn.MaxPool3d((1, 2, 2)),
    "conv2": nn.MaxPool3d(2),
    "conv3b": nn.MaxPool3d(2),
    "conv4b": nn.MaxPool3d(2),
    "conv5b": nn.MaxPool3d(2, padding=(0, 1, 1)),  # 7 x 7 -> 4 x 4, a row and a column added on every side
}
"""Name of a convolution -> the pooling behind it."""


class C3DNetwork(nn.Module):
    """(N, 3, 16, 112, 112), mean subtracted -> (N, 4096) float32: fc6 after its ReLU, the rest is left out."""

    def __init__(self) -> None:
        super().__init__()
        for name, inputs, outputs in _CONVOLUTIONS:
            self.add_module(name, nn.Conv3d(inputs, outputs, 3, padding=1))
        self.fc6 = nn.Linear(512 * 4 * 4, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """Every convolution with its ReLU and pooling, then fc6 on what is left, C first (C, 1, 4, 4)."""
        for name, _, _ in _CONVOLUTIONS:
            x = self.get_submodule(name)(x).relu_()
            x = _POOLS[name](x) if name in _POOLS else x
        row: Tensor = self.fc6(x.flatten(1))
        return row.relu_().float()


def prepare(snippets: Tensor) -> Tensor:
    """(N, F, H, W, 3) uint8 RGB -> (N, 3, F, H, W) float32 BGR, 0 … 255 less the mean."""
    mean = torch.tensor(MEAN_BGR, device=snippets.device).view(1, 3, 1, 1, 1)
    return snippets.flip(-1).permute(0, 4, 1, 2, 3).float().sub_(mean)


NETWORK = SnippetNetwork(
    stream="c3d",
    model="c3d-sports1m-channel-mean",
    dim=DIM,
    geometry="128x171-center112",
    build=C3DNetwork,
    prepare=prepare,
    left_out=("fc7.", "fc8."),
    has_crops=False,
    flattened=4 * 4,
)


def encoder(**options: Any) -> SnippetEncoder:
    """The encoder of the stream; options as in :class:`vadpipe.extractors.snippets.SnippetEncoder`."""
    return SnippetEncoder(NETWORK, **options)
