"""Frames by index with torchcodec's VideoDecoder, on a CUDA device through NVDEC, or on the CPU to test the same code.

Not a decoder of :data:`vadpipe.extractors.decoders.DECODERS`: this runs in the main process, because a frame in a GPU's
memory does not survive the process that decoded it. See :mod:`vadpipe.extractors.cuda_decode`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torchcodec.decoders import Demuxer, VideoDecoder

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders.torchcodec_index import BeatingFile, said


class DeviceFrames:
    """The frames of a local video, in index order of the presented frames; times and indices come from an exact scan.

    ``seconds`` are the N presentation times on the container's clock. Errors: VideoUnreadable.
    """

    def __init__(self, path: Path, device: str) -> None:
        self._path = path
        try:
            index = Demuxer(_open(path)).streams[0].scan()
            self.seconds: list[float] = index.pts_seconds.tolist()
            self._decoder = VideoDecoder(_open(path), dimension_order="NHWC", device=device, seek_mode="exact")
        except (RuntimeError, ValueError) as error:
            raise self._unreadable(f"cannot be opened for {device} ({said(error)})") from error
        if self._decoder.cpu_fallback:
            raise self._unreadable(f"cannot be decoded by the GPU ({self._decoder.cpu_fallback})")

    def get(self, frames: list[int]) -> Any:
        """Frames of increasing index -> tensor (B, H, W, 3) uint8 RGB on the device; never another frame instead."""
        try:
            batch = self._decoder.get_frames_at(frames)
        except (RuntimeError, IndexError) as error:  # the decoder's own errors, and a file that ends early
            raise self._unreadable(f"fails at frame {frames[0]} … {frames[-1]} ({said(error)})") from error
        if self._decoder.cpu_fallback:
            raise self._unreadable(f"cannot be decoded by the GPU ({self._decoder.cpu_fallback})")
        expected = [self.seconds[frame] for frame in frames]
        if batch.pts_seconds.tolist() != expected:
            raise self._unreadable(f"gives other frames than {frames[0]} … {frames[-1]}: some are damaged or hidden")
        return batch.data

    def _unreadable(self, what: str) -> VideoUnreadable:
        return VideoUnreadable(f"{self._path}: it {what}. Decode it on the CPU (--decode-device cpu).")


def _open(path: Path) -> BeatingFile:
    return BeatingFile(path, lambda: None)
