"""Features -> scores: windows of snippets through the head, stitched back to one track."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vadpipe.models.windows import fade, shared, windows
from vadpipe.pipeline.detecting.one_video import Origin, require_one_video
from vadpipe.sound import heard_rows
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, ScoreTrack


def audio_track(store: FeatureStore, spec: FeatureSpec | None, video_id: str) -> FeatureTrack | None:
    """Audio features of a video for :func:`score_track`; None where none are stored, or no snippet has sound."""
    if spec is None or not store.path(spec, video_id).is_file():
        return None
    track = store.read(spec, video_id)
    return track if track.states is None or heard_rows(track.states).any() else None


@torch.inference_mode()
def score_track(
    head: Any,
    track: FeatureTrack,
    labels: tuple[str, ...],
    window: int = 256,
    audio: FeatureTrack | None = None,
    overlap: int = 0,
) -> ScoreTrack:
    """Score every snippet of one video; crops (crops, T, D) are scored one by one and averaged.

    ``head`` must be in evaluation mode; each window of at most ``window`` snippets is scored on its own, and where two
    windows overlap, by ``overlap`` snippets, their scores are cross-faded. ``audio`` are the features of the sound, for
    heads that use it: as many snippets, without crops; None for a video without sound. :class:`DataError` where they
    are of another file, see :func:`require_one_video`.
    """
    if audio is not None:
        require_one_video(track.video_id, Origin.of(track), Origin.of(audio))
    device = next(head.parameters()).device
    crops = track.data if track.data.ndim == 3 else track.data[None]
    count, overlap = track.grid.num_snippets, shared(window, overlap)
    sums = np.zeros((count, 1 + len(labels)))  # anomaly, categories
    totals = np.zeros((count, 1))
    for start, end in windows(count, window, overlap):
        rows = torch.from_numpy(crops[:, start:end].astype(np.float32)).to(device)
        lengths = torch.full((len(crops),), end - start, device=device)
        out = head(rows, lengths, *_sound(head, audio, start, end, rows))
        weights = fade(start, end, count, overlap)[:, None]
        scores = torch.cat([out.anomaly.mean(dim=0).float()[:, None], out.categories.mean(dim=0).float()], dim=1)
        sums[start:end] += weights * scores.cpu().numpy()
        totals[start:end] += weights
    blended = (sums / totals).astype(np.float32)
    zero_shot = frozenset(labels[len(labels) - getattr(head, "own_count", 0) :])
    return ScoreTrack(blended[:, 0].copy(), blended[:, 1:].copy(), labels, track.grid, zero_shot)


def _sound(
    head: Any, audio: FeatureTrack | None, start: int, end: int, rows: torch.Tensor
) -> tuple[torch.Tensor | None, ...]:
    """(audio (crops, T, Da), has_audio (crops, T)) of one window, the same for every crop; () for heads without audio.

    Snippets without sound are given as in training: zeros, and ``has_audio`` False.
    """
    if audio is None:
        dim = getattr(getattr(head, "audio_input", None), "input_dim", 0)  # of heads that take audio
        return (rows.new_zeros(*rows.shape[:2], dim), rows.new_zeros(rows.shape[:2], dtype=torch.bool)) if dim else ()
    data = audio.data[0] if audio.data.ndim == 3 else audio.data
    sound = torch.from_numpy(data[start:end].astype(np.float32)).to(rows.device).expand(len(rows), -1, -1)
    heard = np.ones(len(data), dtype=np.bool_) if audio.states is None else heard_rows(audio.states)
    return sound, torch.from_numpy(heard[start:end]).to(rows.device).expand(len(rows), -1)
