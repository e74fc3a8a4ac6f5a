"""Decoding on the GPU (NVDEC, ``--decode-device cuda``): frames stay there through the resize and into the encoder.

A killable child on the CPU first finds out facts and times, checks the caps and the file's end, and hands over the
sound. The GPU then decodes in this process, because a frame on a GPU does not survive its process. What is lost by
that: a hang or a crash of the driver takes the run with it, and damage that NVDEC conceals is not seen. What holds: the
caps, the count of frames, and the time of every single frame, which is compared with the index. Nothing falls back to
the CPU unsaid. On a GPU this is unverified; all of its logic is tested with ``device="cpu"``.

::

    with open_device(path, Request(audio_rate=16000), device="cuda:0") as reader:
        for item in reader:          # DeviceRow | AudioChunk
            ...
    reader.report.audio_state
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vadpipe.errors import UsageError, VideoUnreadable
from vadpipe.extractors import geometry, media
from vadpipe.extractors.decode_views import wanted_frames
from vadpipe.tracks import TimeGrid, VideoClip

DECODER = "torchcodec"
"""The only decoder with a path to the GPU."""

_BATCH_FRAMES = 32
_BATCH_PIXELS = 32 * 1920 * 1080 // 2
"""Frames, and pixels of full frames, that are decoded and resized at once; 16 of 1920 x 1080 take 0.6 GB on the GPU."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceRow:
    """As :class:`vadpipe.extractors.media.FrameRow`; ``image`` is a torch tensor (h, w, 3) uint8 RGB on the device."""

    row: int
    frame: int
    pts_s: float
    image: Any
    view: int = 0


def check_device(decoder: str, decode_device: str) -> None:
    """UsageError for a device that no decoder knows, or that ``decoder`` does not; imports no torch."""
    kind, _, number = decode_device.partition(":")
    if decode_device != "cpu" and (kind != "cuda" or (number and not number.isdecimal())):
        raise UsageError(f"decode device: got {decode_device!r}, expected cpu, cuda or cuda:N")
    if kind == "cuda" and decoder != DECODER:
        raise UsageError(f"decoder {decoder!r} decodes on the CPU only. For the GPU choose --decoder {DECODER}.")


def check_encoder(decode_device: str, device: str) -> None:
    """UsageError where pictures would be decoded on a GPU for an encoder elsewhere; imports no torch."""
    if decode_device.startswith("cuda") and not device.startswith("cuda"):
        raise UsageError(
            "--decode-device cuda: pictures stay on the GPU, so the encoders must be there: --device cuda. "
            "Or decode on the CPU (--decode-device cpu), which gives features of another specification."
        )


def open_device(
    path: str | Path, request: media.Request, device: str = "cuda:0", limits: media.Limits | None = None
) -> DeviceReader:
    """A reader for one video; work begins when the ``with`` block is entered.

    Errors, on entering or iterating: UsageError (no such file, geometry or GPU, no torchcodec), and every
    :class:`vadpipe.errors.VideoError`.
    """
    return DeviceReader(Path(path), request, device, limits)


class DeviceReader:
    """Context manager and iterator over :class:`DeviceRow` (by frame, then by view) and ``media.AudioChunk``.

    ``clip`` and ``grid`` are known on entering; ``report`` after the last item. Sound comes between the pictures, by
    time. One thread at a time.
    """

    clip: VideoClip
    grid: TimeGrid

    def __init__(self, path: Path, request: media.Request, device: str, limits: media.Limits | None) -> None:
        self._path, self._request, self._device = path, request, device
        self._child = media.open_media(path, replace(request, views=()), decoder=DECODER, limits=limits)

    def __enter__(self) -> Self:
        _check_present(self._device)
        for view in self._request.views:
            geometry.output_size(view.geometry)
        self._child.__enter__()
        try:
            self.clip, self.grid = self._child.clip, self._child.grid
            self._begin()
        except BaseException:  # an interrupt too: no child is left behind
            self._child.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.__exit__(kind, error, trace)

    def kill(self) -> None:
        """End the child at once; another thread may call it. What the GPU is at is finished first."""
        self._child.kill()

    @property
    def report(self) -> media.MediaReport:
        """The outcome; RuntimeError before the last item was received."""
        return self._child.report

    def __iter__(self) -> Iterator[DeviceRow | media.AudioChunk]:
        sound = self._sound()
        heard_s = 0.0
        for row in self._rows():
            while heard_s < row.pts_s and (chunk := next(sound, None)) is not None:
                heard_s = (chunk.start_sample + len(chunk.samples)) / self._request.audio_rate
                yield chunk
            yield row
        yield from sound

    def _begin(self) -> None:
        from vadpipe.extractors.decoders.torchcodec_device import DeviceFrames

        self._frames = DeviceFrames(self._path, self._device)
        found, expected = len(self._frames.seconds), self.clip.num_frames
        if found != expected:
            raise VideoUnreadable(
                f"{self._path}: its index lists {found} frames, of which {expected} are shown; that is too much for "
                "decoding on the GPU. Decode it on the CPU (--decode-device cpu)."
            )

    def _sound(self) -> Iterator[media.AudioChunk]:
        for item in self._child:
            if isinstance(item, media.AudioChunk):
                yield item

    def _rows(self) -> Iterator[DeviceRow]:
        wanted: list[int] = wanted_frames(asdict(self._request), self.clip.num_frames).tolist()
        step = max(1, min(_BATCH_FRAMES, _BATCH_PIXELS // (self.clip.width * self.clip.height)))
        for at in range(0, len(wanted), step):
            frames = wanted[at : at + step]
            yield from self._batch_rows(frames, self._frames.get(frames))

    def _batch_rows(self, frames: list[int], pictures: Any) -> Iterator[DeviceRow]:
        from vadpipe.extractors import geometry_torch

        sampled = set(self.grid.sampled_frames(self._request.offset).tolist())
        cut: list[dict[int, Any]] = []
        for view in self._request.views:
            places = [place for place, frame in enumerate(frames) if view.every_frame or frame in sampled]
            images = geometry_torch.apply(pictures[places], view.geometry)
            cut.append(dict(zip(places, images, strict=True)))
        for place, frame in enumerate(frames):
            row, pts_s = frame // self._request.frames_per_snippet, self._time_of(frame)
            for view_place, images_of in enumerate(cut):
                if place in images_of:
                    yield DeviceRow(row, frame, pts_s, images_of[place], view_place)

    def _time_of(self, frame: int) -> float:
        if not self.clip.vfr:
            return frame / float(self.clip.fps)
        return self._frames.seconds[frame] - self._frames.seconds[0]


def _check_present(device: str) -> None:
    """UsageError where torch cannot use the device; imports torch."""
    check_device(DECODER, device)
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise UsageError("--decode-device cuda: torch finds no GPU here. Leave it at cpu.")
    number = torch.device(device).index or 0
    if number >= torch.cuda.device_count():
        raise UsageError(f"--decode-device {device}: there are {torch.cuda.device_count()} GPUs, counted from 0.")
