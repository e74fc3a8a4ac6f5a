"""CLIP's text tower on embedded tokens, frozen; gradients pass through it to what it is given.

Legend: n texts, L positions, d columns. Parameters are named as in CLIP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vadpipe.errors import WeightsError
from vadpipe.models.clip_layers import LayerNorm, ResidualBlock, full_precision
from vadpipe.shapes_only import shapes_only

_BLOCK = "transformer.resblocks."


class _Blocks(nn.Module):
    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads) for _ in range(layers))


class TextTower(nn.Module):
    """Token and position embeddings, causal transformer, final norm, projection; always in float32.

    Built by :meth:`from_state`. Nobody changes it, so heads share one: a deep copy is the tower itself, and moving one
    head to a device moves it for all. Heads keep it out of their parameters and their ``state_dict``.
    """

    def __init__(self, width: int, layers: int, heads: int, vocabulary: int, positions: int, dim: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(positions, width))
        self.transformer = _Blocks(width, layers, heads)
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, dim))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], heads: int | None = None) -> TextTower:
        """Build from CLIP's names -> values; what belongs to other parts of CLIP is passed over.

        heads: of every block, default ``width // 64`` as in CLIP. :class:`WeightsError` for missing or unfit values.
        """
        try:
            vocabulary, width = state["token_embedding.weight"].shape
            positions, dim = state["positional_embedding"].shape[0], state["text_projection"].shape[1]
        except (KeyError, ValueError, IndexError) as error:
            raise WeightsError(f"CLIP's text tower: {error} is missing or has another shape") from error
        layers = len({name.split(".")[2] for name in state if name.startswith(_BLOCK)})
        with shapes_only():
            tower = cls(width, layers, heads or max(width // 64, 1), vocabulary, positions, dim)
        wanted = tower.state_dict()
        missing = [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]
        if missing:
            raise WeightsError(f"CLIP's text tower: {', '.join(missing[:3])} missing or of another shape")
        values = {name: state[name].detach().float() for name in wanted}
        tower.load_state_dict(values, assign=True)
        tower.requires_grad_(requires_grad=False)
        return tower.eval()

    def __deepcopy__(self, _memo: dict[int, Any]) -> TextTower:
        return self

    @property
    def width(self) -> int:
        """Columns of an embedded token."""
        return self.positional_embedding.shape[1]

    @property
    def dim(self) -> int:
        """Columns of a text feature."""
        return self.text_projection.shape[1]

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """Embedded tokens (n, L, width) and the end token's position (n,) -> text features (n, d), not normalised.

        The tower is causal: positions after the last end token may be left out, and should be.
        """
        with full_precision(embedded):
            x = embedded.float() + self.positional_embedding[: embedded.shape[1]]
            for block in self.transformer.resblocks:
                x = block(x, causal=True)
            last = x[torch.arange(len(x), device=x.device), ends]
            out: Tensor = self.ln_final(last) @ self.text_projection
            return out

    def encode(self, tokens: Tensor) -> Tensor:
        """CLIP tokens (n, 77) int64, the end token being the largest number -> text features (n, d)."""
        ends = tokens.argmax(dim=1)
        features: Tensor = self(self.token_embedding(tokens[:, : int(ends.max()) + 1]), ends)
        return features
