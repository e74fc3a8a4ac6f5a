"""The classification and the alignment branch of VadCLIP and AVadCLIP.

Legend: B videos, T snippets, N real snippets of the batch, d columns, C+1 classes with ``normal`` first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.head_config import TwoBranchConfig
from vadpipe.models.clip_layers import Mlp, Snippets, full_precision
from vadpipe.models.zero_shot import own_probabilities


class TwoBranchOutput(NamedTuple):
    """What a head with two branches says about a batch; values at padding are meaningless.

    logits (B, T)
        Binary anomaly logits.
    alignment (B, T, C+1)
        Alignment map: cosines of snippets and classes, divided by the temperature.
    anomaly (B, T)
        Anomaly score in [0, 1] of the branch that the settings name.
    features (B, T, d)
        What the branches look at (X_av; X_vs of a student); with ``padding = "released"``, T is ``max_snippets``.
    text (C+1, d)
        Class features X_c, before the videos' own prompts.
    theta (B, T, d) or None
        Log-variance that a student predicts, of the same T as ``features``.
    own (B, T, K) or None
        Probabilities of own categories, see :func:`vadpipe.models.zero_shot.own_probabilities`.
    """

    logits: Tensor
    alignment: Tensor
    anomaly: Tensor
    features: Tensor
    text: Tensor
    theta: Tensor | None = None
    own: Tensor | None = None

    @property
    def categories(self) -> Tensor:
        """(B, T, C+1) class probabilities: softmax of the alignment map; own categories' K columns behind them."""
        trained = self.alignment.softmax(dim=-1)
        return trained if self.own is None else torch.cat([trained, self.own], dim=-1)


class TwoBranches(nn.Module):
    """Binary classifier, and class features that carry the video's own prompt.

    ``own_text`` (K, d): X_c of own categories, made by the same learned prompts; outside the checkpoint.
    """

    own_text: Tensor | None

    def __init__(self, config: TwoBranchConfig, *, prompt: bool = True) -> None:
        super().__init__()
        self.config, self.prompt = config, prompt
        self.register_buffer("own_text", None, persistent=False)
        self.mlp1 = Mlp(config.dim)  # of the alignment branch
        self.mlp2 = Mlp(config.dim)  # of the classification branch
        self.classifier = nn.Linear(config.dim, 1)
        if config.zero_init:  # all snippets start equal; MIL reinforces whatever the first random scores prefer
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)
        # Steps of AdamW are about the learning rate long: with this factor the gate can open in some hundred of them.
        self.gate_per_step = 30.0
        # Without the gate, random alignment scores reach the silent classifier by way of the video prompt, and lead it.
        self.gate = nn.Parameter(torch.zeros(())) if config.gate and config.zero_init else None

    def forward(self, rows: Tensor, text: Tensor, snippets: Snippets) -> TwoBranchOutput:
        """X_av (N, d) and X_c (C+1, d) -> the output, scores cut to the snippets that were given."""
        logits = snippets.put(self.classifier(rows + self.mlp2(rows)))[..., 0].float()
        features = snippets.put(rows)
        with full_precision(rows):
            alignment = self._alignment(features.float(), logits, text)
            own = self._own(features.float(), logits, alignment)
        logits, alignment = logits[:, : snippets.size], alignment[:, : snippets.size]
        binary = self.config.score == "binary"
        anomaly = logits.sigmoid() if binary else 1 - alignment.softmax(dim=-1)[..., 0]
        own = None if own is None else own[:, : snippets.size]
        return TwoBranchOutput(logits, alignment, anomaly, features, text, own=own)

    def _own(self, features: Tensor, logits: Tensor, alignment: Tensor) -> Tensor | None:
        """(B, T, K) probabilities of own categories: all that aligns text here is shared by the classes."""
        if self.own_text is None:
            return None
        return own_probabilities(alignment, self._alignment(features, logits, self.own_text))

    @property
    def reach(self) -> float:
        """Highest alignment logit there can be; 0 where the gate silences the branch.

        The gate's sign says nothing: all classes are told apart by this branch, which then learned the other direction.
        """
        weight = 1.0 if self.gate is None else float((self.gate_per_step * self.gate.detach()).clamp(-1, 1).abs())
        return weight / self.config.tau

    def _alignment(self, features: Tensor, logits: Tensor, text: Tensor) -> Tensor:
        """Eqs. 4-8: cosine of X_av and X_cp by the temperature.

        Differs from the paper, as the released models do: eqs. 5 and 6 weigh by a similarity that the released code
        computes over copies of one vector, so every class gets X_p itself; eq. 7 skips to X_c, the code to X_c + X_p.
        """
        classes = text[None].expand(len(features), -1, -1)
        if self.prompt:
            classes = classes + self._video_prompt(features, logits)
        classes = F.normalize(classes + self.mlp1(classes), dim=-1)
        lengths = torch.linalg.vector_norm(features, dim=-1, keepdim=True).clamp(min=1e-12)
        alignment: Tensor = features @ classes.transpose(1, 2) / (self.config.tau * lengths)
        return alignment if self.gate is None else (self.gate_per_step * self.gate).clamp(-1, 1) * alignment

    def _video_prompt(self, features: Tensor, logits: Tensor) -> Tensor:
        """Eq. 4, X_p (B, 1, d): A^T X_av of length 1, A being the logits (released), not their sigmoid.

        Where the classifier starts at zero, so does A, and dividing by the length would send endless gradients back:
        then the length has a floor of 1, which is far below that of a trained head.
        """
        mixed = logits[:, None, :] @ features
        if self.config.zero_init:
            return mixed * (mixed.square().sum(dim=-1, keepdim=True) + 1).rsqrt()
        return F.normalize(mixed, dim=-1)
