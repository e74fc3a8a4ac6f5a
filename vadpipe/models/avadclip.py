"""AVadCLIP: the audio-visual model (teacher) and the student that does with one stream what it learned from both.

Legend: B videos, T snippets (<= max_snippets), N real snippets of the batch, d = dim, C+1 classes with ``normal``
first, ``lengths`` (B,) real snippets. Where the paper and the released models differ, the released models win, because
their checkpoints must load; the line says so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.head_config import AVadClipConfig, AVadClipStudentConfig
from vadpipe.models import clip_losses
from vadpipe.models.clip_branches import TwoBranches, TwoBranchOutput
from vadpipe.models.clip_layers import Snippets, VideoEncoder, full_precision
from vadpipe.models.fusion import FUSIONS
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.layers import InputStage
from vadpipe.models.prompts import ClassPrompts, PromptedHead
from vadpipe.models.temporal_conv import Refinement, TemporalConvNet


class AVadClip(PromptedHead):
    """The audio-visual model.

    A snippet without audio (``has_audio`` False) keeps its video features: X_av = v. The paper has no such snippets.
    With ``modality = "audio"`` there is nothing to keep. Either way what stands in its audio row counts for nothing:
    its neighbours get zeros from there, as from before the video's beginning.
    """

    def __init__(self, config: AVadClipConfig, inputs: HeadInputs) -> None:
        super().__init__()
        self.config, d = config, config.dim
        if config.modality != "audio":
            self.video_input = InputStage(inputs.video_dim, d, config.standardise, config.input_dropout)
            self.video = VideoEncoder(d, config.heads, config.layers, config.window, config.max_snippets)
        if config.uses_audio:
            self.audio_input = InputStage(_audio_dim(inputs), d, config.standardise, config.input_dropout)
            self.audio = TemporalConvNet(d, config.audio_dropout)
        if config.modality == "audio_visual":
            self.fusion = FUSIONS[config.fusion](d)
        self.prompts = ClassPrompts(inputs, d, config.prompt_prefix, config.prompt_postfix)
        self.branches = TwoBranches(config, prompt=config.av_prompt)
        self.alpha = nn.Parameter(torch.full((len(inputs.text),), 0.25)) if config.focal else None

    def forward(
        self, video: Tensor, lengths: Tensor, audio: Tensor | None = None, has_audio: Tensor | None = None
    ) -> TwoBranchOutput:
        """Features (B, T, D), (B, T, Da) with ``lengths``, ``has_audio`` (B, T) or (B,) -> :class:`TwoBranchOutput`."""
        masked = self.config.padding == "masked"
        snippets = Snippets(lengths, video.shape[1], self.config.max_snippets, masked=masked)
        heard = _heard(has_audio, snippets)
        rows = self._hear(audio, snippets, heard) if self.config.modality == "audio" else self._see(video, snippets)
        if self.config.modality == "audio_visual":
            fused = self.fusion(rows, self._hear(audio, snippets, heard), snippets, heard)
            rows = fused if heard is None else torch.where(snippets.take(heard[..., None]), fused, rows)
        out: TwoBranchOutput = self.branches(rows, self.prompts(), snippets)
        return out

    def _see(self, video: Tensor, snippets: Snippets) -> Tensor:
        x = snippets.enter(self.video_input(video))
        rows: Tensor = self.video(x, snippets)
        return rows + snippets.take(x) if self.config.residual else rows

    def _hear(self, audio: Tensor | None, snippets: Snippets, heard: Tensor | None) -> Tensor:
        return snippets.take(self.audio(_silenced(snippets.enter(self.audio_input(_present(audio))), heard)))

    def loss(
        self, out: TwoBranchOutput, targets: Tensor, lengths: Tensor, _teacher: object = None
    ) -> dict[str, Tensor]:
        """``total`` = ``bce`` + ``align`` + ``text_weight`` times ``text``; targets (B, C+1) multi-hot."""
        return clip_losses.two_branch_losses(out, targets, lengths, self.alpha, self.config.text_weight)

    def set_statistics(self, stream: str, mean: Tensor, covariance: Tensor) -> None:
        """Take the training features' mean (D,) and covariance (D, D), float64, of ``video`` or ``audio``."""
        _stage_of(self, stream).set_statistics(mean, covariance)


class AVadClipStudent(PromptedHead):
    """The student: the video path, a refinement, and with ``distill = "ukd"`` a log-variance for eq. 11.

    With ``modality = "audio"`` the same network is fed with the audio stream (the audio model of Table 6); snippets
    without audio are then zeros.
    """

    def __init__(self, config: AVadClipStudentConfig, inputs: HeadInputs) -> None:
        super().__init__()
        self.config, d = config, config.dim
        width = _audio_dim(inputs) if config.uses_audio else inputs.video_dim
        stage = InputStage(width, d, config.standardise, config.input_dropout)
        self.add_module(f"{'audio' if config.uses_audio else 'video'}_input", stage)
        self.video = VideoEncoder(d, config.heads, config.layers, config.window, config.max_snippets)
        self.refine = Refinement(d, variance=config.distill == "ukd")
        self.prompts = ClassPrompts(inputs, d, config.prompt_prefix, config.prompt_postfix)
        self.branches = TwoBranches(config, prompt=config.av_prompt)
        self.alpha = nn.Parameter(torch.full((len(inputs.text),), 0.25)) if config.focal else None

    def forward(
        self, video: Tensor, lengths: Tensor, audio: Tensor | None = None, has_audio: Tensor | None = None
    ) -> TwoBranchOutput:
        """Features (B, T, D) of the modality's stream, ``lengths`` (B,), and ``has_audio`` as the teacher's."""
        x = _present(audio) if self.config.uses_audio else video
        masked = self.config.padding == "masked"
        snippets = Snippets(lengths, x.shape[1], self.config.max_snippets, masked=masked)
        x = snippets.enter(_stage_of(self, "audio" if self.config.uses_audio else "video")(x))
        if self.config.uses_audio:
            x = _silenced(x, _heard(has_audio, snippets))
        rows = self.video(x, snippets)
        if self.config.residual:
            rows = rows + snippets.take(x)
        features, theta = self.refine(snippets.put(rows), snippets)
        out: TwoBranchOutput = self.branches(snippets.take(features), self.prompts(), snippets)
        return out._replace(theta=theta)

    def loss(
        self, out: TwoBranchOutput, targets: Tensor, lengths: Tensor, teacher: TwoBranchOutput | None = None
    ) -> dict[str, Tensor]:
        """As the teacher's, plus ``distill_weight`` times ``distill`` where there is distillation.

        ``teacher``: its output for the same batch; ValueError where distillation misses it.
        """
        parts = clip_losses.two_branch_losses(out, targets, lengths, self.alpha, self.config.text_weight)
        if self.config.distill == "none":
            return parts
        if teacher is None:
            raise ValueError(f"distill = {self.config.distill!r} needs the teacher's output for the batch")
        masked = self.config.padding == "masked"
        wanted = teacher.features[:, : out.features.shape[1]]
        with full_precision(out.features):
            parts["distill"] = clip_losses.distillation_loss(
                out.features, wanted, out.theta, lengths if masked else None
            )
        parts["total"] = parts["total"] + self.config.distill_weight * parts["distill"]
        return parts

    def set_statistics(self, stream: str, mean: Tensor, covariance: Tensor) -> None:
        """Take the training features' mean (D,) and covariance (D, D), float64, of the modality's stream."""
        _stage_of(self, stream).set_statistics(mean, covariance)


def _audio_dim(inputs: HeadInputs) -> int:
    if inputs.audio_dim < 1:
        raise ValueError("audio_dim: got 0, expected the columns of the audio features that these settings use")
    return inputs.audio_dim


def _present(audio: Tensor | None) -> Tensor:
    if audio is None:
        raise ValueError("this head takes audio features (B, T, Da); got none")
    return audio


def _heard(has_audio: Tensor | None, snippets: Snippets) -> Tensor | None:
    """(B,) or (B, size) -> (B, T); padding, which takes part in released models, as if the video's sound went on."""
    if has_audio is None:
        return None
    if has_audio.ndim == 1:
        return has_audio[:, None].expand(snippets.shape)
    flags = F.pad(has_audio, (0, snippets.shape[1] - snippets.size))
    if snippets.mask is None:
        return flags
    return torch.where(snippets.mask, flags, (flags & snippets.mask).any(dim=1, keepdim=True))


def _silenced(x: Tensor, heard: Tensor | None) -> Tensor:
    """(B, T, d) with zeros where there is no sound."""
    return x if heard is None else x * heard[..., None]


def _stage_of(head: nn.Module, stream: str) -> InputStage:
    stage = getattr(head, f"{stream}_input", None)
    if not isinstance(stage, InputStage):
        raise ValueError(f"stream {stream!r} is not used with these settings")
    return stage
