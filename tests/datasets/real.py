"""The released lists, annotations and ground truth in tests/data/annotations; large ones are packed with gzip."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vadpipe.datasets.lists import read_list
from vadpipe.manifest import VideoRecord
from vadpipe.tracks import Interval, TimeGrid

DATA = Path(__file__).parents[1] / "data" / "annotations"
XD, UCF, CCTV = DATA / "xd_violence", DATA / "ucf_crime", DATA / "cctv_fights"


def unpack(path: Path, folder: Path) -> Path:
    """Copy of a file in ``folder``, as it was released: arrays are not read packed."""
    target = folder / path.name.removesuffix(".gz")
    target.write_bytes(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    return target


def frame_truth(dataset: str) -> dict[str, NDArray[np.bool_]]:
    """Id -> (N,) whether each frame is abnormal, N a multiple of 16."""
    path = DATA / "frame_gt" / f"{dataset}.json"
    text = path.read_text() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes()).decode()
    truth = {}
    for video, (frames, *spans) in json.loads(text).items():
        truth[video] = np.zeros(frames, bool)
        for start, end in zip(spans[::2], spans[1::2], strict=True):
            truth[video][start:end] = True
    return truth


def test_records(dataset: str) -> dict[str, VideoRecord]:
    """Records of the test list."""
    path = {"xd_violence": XD / "xd_CLIP_rgbtest.csv.gz", "ucf_crime": UCF / "ucf_CLIP_rgbtest.csv.gz"}[dataset]
    return {video.record.id: video.record for video in read_list(path, dataset, "test")}


def grids(truth: dict[str, NDArray[np.bool_]]) -> dict[str, TimeGrid]:
    """Grids of features with 16 frames a row."""
    return {video: TimeGrid(Fraction(24), len(frames)) for video, frames in truth.items()}


def frames_of(intervals: tuple[Interval, ...], num_frames: int) -> NDArray[np.bool_]:
    """(N,) whether any interval holds a frame."""
    frames = np.zeros(num_frames, bool)
    for span in intervals:
        frames[span.start_frame : span.end_frame] = True
    return frames


def cctv_frames() -> dict[str, int]:
    """Lengths of the videos in ``gt_cctv.npy``, found from where the first spans begin in it; all multiples of 4."""
    array = np.frombuffer(gzip.decompress((CCTV / "gt_cctv.npy.gz").read_bytes())[128:], "<f4")
    starts = np.flatnonzero(np.diff(array, prepend=0) > 0).tolist()
    lines = [line.split() for line in (CCTV / "annotations_cctv.txt").read_text().splitlines()]
    begins, run = [], 0
    for words in lines:
        spans = [int(frame) for frame in words[1::2]]
        begins.append(starts[run] - spans[0])
        while run < len(starts) and starts[run] - begins[-1] in spans:
            run += 1
    ends = [*begins[1:], len(array)]
    return {words[0]: end - begin for words, begin, end in zip(lines, begins, ends, strict=True)}
