"""VadCLIP (AAAI 2024): CLIP's image features against learned class prompts, with a binary classifier beside.

Legend: B videos, T snippets (<= max_snippets), d = dim, C+1 classes with ``normal`` first, ``lengths`` (B,).
"""

from __future__ import annotations

from torch import Tensor

from vadpipe.head_config import VadClipConfig
from vadpipe.models.clip_branches import TwoBranches, TwoBranchOutput
from vadpipe.models.clip_layers import Snippets, VideoEncoder
from vadpipe.models.clip_losses import two_branch_losses
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.layers import InputStage
from vadpipe.models.prompts import ClassPrompts, PromptedHead


class VadClip(PromptedHead):
    """The VadCLIP head.

    With ``padding = "released"`` every video is padded with zeros to ``max_snippets`` and the zeros take part, as in
    the released code; otherwise padding changes nothing.
    """

    def __init__(self, config: VadClipConfig, inputs: HeadInputs) -> None:
        super().__init__()
        self.config = config
        self.video_input = InputStage(inputs.video_dim, config.dim, config.standardise, config.input_dropout)
        self.video = VideoEncoder(config.dim, config.heads, config.layers, config.window, config.max_snippets)
        self.prompts = ClassPrompts(inputs, config.dim, config.prompt_prefix, config.prompt_postfix)
        self.branches = TwoBranches(config)

    def forward(
        self, video: Tensor, lengths: Tensor, _audio: Tensor | None = None, _has_audio: Tensor | None = None
    ) -> TwoBranchOutput:
        """Features (B, T, d_in) with ``lengths`` (B,) -> :class:`TwoBranchOutput`; audio is not looked at."""
        masked = self.config.padding == "masked"
        snippets = Snippets(lengths, video.shape[1], self.config.max_snippets, masked=masked)
        x = snippets.enter(self.video_input(video))
        rows = self.video(x, snippets)
        if self.config.residual:
            rows = rows + snippets.take(x)
        out: TwoBranchOutput = self.branches(rows, self.prompts(), snippets)
        return out

    def loss(
        self, out: TwoBranchOutput, targets: Tensor, lengths: Tensor, _teacher: object = None
    ) -> dict[str, Tensor]:
        """``total`` = ``bce`` + ``align`` (L_NCE) + ``text_weight`` times ``text``; targets (B, C+1) multi-hot."""
        return two_branch_losses(out, targets, lengths, None, self.config.text_weight)

    def set_statistics(self, _stream: str, mean: Tensor, covariance: Tensor) -> None:
        """Take the training snippets' mean (d_in,) and covariance (d_in, d_in), float64, as ``standardise`` asks."""
        self.video_input.set_statistics(mean, covariance)
