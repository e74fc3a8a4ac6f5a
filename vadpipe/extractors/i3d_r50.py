"""``i3d-r50``: I3D ResNet-50 of pytorchvideo (Kinetics-400, 8x8), the 2048-d pooled feature of a snippet of 16 frames.

The network is built by pytorchvideo, without its classifier. Its ``transforms`` do not import beside a current
torchvision and are not needed: pixels are prepared here, with the mean and the deviation that its models were trained
with.

Differs from the model's own head: that averages windows of 4 x 7 x 7 and then the windows, so that for more than the 8
frames it was made for the frames in the middle count more. Here all positions count the same; for 8 frames there is no
difference.

Legend: N snippets, F = 16 frames, C channels, T, H, W time and space, D = 2048.
"""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor, nn

from vadpipe.errors import UsageError
from vadpipe.extractors.snippets import SnippetEncoder, SnippetNetwork

DIM = 2048
_MEAN, _STD = 0.45, 0.225  # of all three channels: pytorchvideo's for Kinetics
_HEAD = "blocks.6."


class I3DResNet50Network(nn.Module):
    """(N, 3, 16, 224, 224), normalised -> (N, 2048) float32."""

    def __init__(self) -> None:
        super().__init__()
        whole = _build()
        self.blocks = nn.ModuleList(list(whole.blocks)[:-1])  # the last is the head; the names stay the file's

    def forward(self, x: Tensor) -> Tensor:
        """Stem, pooling and four stages, then the average over time and space, in float32."""
        for block in self.blocks:
            x = block(x)
        return x.float().mean((2, 3, 4))


def _build() -> Any:
    try:
        with warnings.catch_warnings():
            # a package of pytorchvideo's compiles a loss with torch.jit as it is imported
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            from pytorchvideo.models.hub.resnet import i3d_r50
    except ImportError as error:
        raise UsageError(
            f"i3d-r50 needs pytorchvideo ({error}): install it with pip install 'vadpipe[video3d]'"
        ) from error
    return i3d_r50(pretrained=False)


def prepare(snippets: Tensor) -> Tensor:
    """(N, F, H, W, 3) uint8 -> (N, 3, F, H, W) float32: 0 … 1, less 0.45, over 0.225."""
    return snippets.permute(0, 4, 1, 2, 3).float().div_(255).sub_(_MEAN).div_(_STD)


NETWORK = SnippetNetwork(
    stream="i3d-r50",
    model="i3d-r50-8x8-pytorchvideo",
    dim=DIM,
    geometry="short256-center224",
    build=I3DResNet50Network,
    prepare=prepare,
    left_out=(_HEAD,),
)


def encoder(**options: Any) -> SnippetEncoder:
    """The encoder of the stream; options as in :class:`vadpipe.extractors.snippets.SnippetEncoder`."""
    return SnippetEncoder(NETWORK, **options)
