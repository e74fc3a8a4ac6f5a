"""Detections made by hand and heads of few weights, for tests of what is done with them."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction

import numpy as np
import torch

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig, RunConfig
from vadpipe.detection import AudioUse, Detection
from vadpipe.head_config import LecVadConfig
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.detecting.report import provenance
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid, VideoClip

LABELS = ("normal", "fighting", "riot")
SPEC = FeatureSpec("clip", 12, "mean-colour", "random:0")
CALIBRATION = Calibration(0.5, 0.5, 2.0, 3, 1, 2.37, (0.0, 0.25, 1.0), "ab" * 32, asdict(DetectConfig()))


def small_head(spec: FeatureSpec = SPEC, detect: DetectConfig | None = None, seed: int = 4) -> TrainedHead:
    """An untrained head; this seed is one of those that find something in a short painted video."""
    config = LecVadConfig(dim=32, heads=4, memory_blocks=1, zero_init=False)
    torch.manual_seed(seed)
    network = LecVad(config, HeadInputs(spec.dim, torch.randn(3, 32))).eval()
    run = RunConfig(model=config, detect=detect or DetectConfig())
    return TrainedHead(network, run, spec, LABELS, "epoch 1 of 1", {}, "ab" * 32)


def made_detection(
    name: str = "clip",
    zero_shot: frozenset[str] = frozenset(),
    calibration: Calibration | None = None,
    audio: AudioUse | None = None,
) -> Detection:
    """Five snippets at 25 frames/s, the last of 6 frames; fighting in snippets 1 and 2, riot in the last two."""
    grid = TimeGrid(Fraction(25), 70)
    anomaly = np.array([0.1, 0.6, 0.9, 0.2, 0.4], np.float32)
    fighting = np.array([0.1, 0.6, 0.8, 0.1, 0.0], np.float32)
    riot = np.array([0.0, 0.0, 0.1, 0.5, 0.7], np.float32)
    scores = ScoreTrack(anomaly, np.stack([1 - fighting - riot, fighting, riot], axis=1), LABELS, grid, zero_shot)
    found = (Interval.of_frames("fighting", 16, 48, grid, 0.5), Interval.of_frames("riot", 48, 70, grid, 0.25))
    clip = VideoClip(name, f"{name}.mp4", 96, 64, Fraction(25), 70, 2.8, sha256="cd" * 32)
    told = {**provenance(small_head()), "zero_shot": sorted(zero_shot)}
    params = {"r_ano": 0.2}
    return Detection(clip, found, scores, told, (), audio or AudioUse(), params, zero_shot, calibration)
