"""Features -> scores: windows of snippets through the head, stitched back to one track."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vadpipe.models.windows import windows
from vadpipe.pipeline.one_video import Origin, require_one_video
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
    head: Any, track: FeatureTrack, labels: tuple[str, ...], window: int = 256, audio: FeatureTrack | None = None
) -> ScoreTrack:
    """Score every snippet of one video; crops (crops, T, D) are scored one by one and averaged.

    ``head`` must be in evaluation mode; each window of at most ``window`` snippets is scored on its own. ``audio`` are
    the features of the sound, for heads that use it: as many snippets, without crops; None for a video without sound.
    :class:`DataError` where they are of another file, see :func:`require_one_video`.
    """
    if audio is not None:
        require_one_video(track.video_id, Origin.of(track), Origin.of(audio))
    device = next(head.parameters()).device
    crops = track.data if track.data.ndim == 3 else track.data[None]
    anomaly = np.zeros(track.grid.num_snippets, dtype=np.float32)
    categories = np.zeros((track.grid.num_snippets, len(labels)), dtype=np.float32)
    for start, end in windows(track.grid.num_snippets, window):
        rows = torch.from_numpy(crops[:, start:end].astype(np.float32)).to(device)
        lengths = torch.full((len(crops),), end - start, device=device)
        out = head(rows, lengths, *_sound(head, audio, start, end, rows))
        anomaly[start:end] = out.anomaly.mean(dim=0).float().cpu().numpy()
        categories[start:end] = out.categories.mean(dim=0).float().cpu().numpy()
    return ScoreTrack(anomaly, categories, labels, track.grid)


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
