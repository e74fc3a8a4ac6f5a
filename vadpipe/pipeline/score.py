"""Features -> scores: windows of snippets through the head, stitched back to one track."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vadpipe.models.windows import windows
from vadpipe.tracks import FeatureTrack, ScoreTrack


@torch.inference_mode()
def score_track(head: Any, track: FeatureTrack, labels: tuple[str, ...], window: int = 256) -> ScoreTrack:
    """Score every snippet of one video; crops (crops, T, D) are scored one by one and averaged.

    ``head`` must be in evaluation mode; each window of at most ``window`` snippets is scored on its own.
    """
    device = next(head.parameters()).device
    crops = track.data if track.data.ndim == 3 else track.data[None]
    anomaly = np.zeros(track.grid.num_snippets, dtype=np.float32)
    categories = np.zeros((track.grid.num_snippets, len(labels)), dtype=np.float32)
    for start, end in windows(track.grid.num_snippets, window):
        rows = torch.from_numpy(crops[:, start:end].astype(np.float32)).to(device)
        lengths = torch.full((len(crops),), end - start, device=device)
        out = head(rows, lengths)
        anomaly[start:end] = out.anomaly.mean(dim=0).float().cpu().numpy()
        categories[start:end] = out.categories.mean(dim=0).float().cpu().numpy()
    return ScoreTrack(anomaly, categories, labels, track.grid)
