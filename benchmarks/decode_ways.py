"""Ways of decoding every 16th frame to RGB, each in a process of its own; started by benchmarks/decode.py.

    python decode_ways.py WAY THREADS

Reads one JSON line a run, {"path": …, "digests": …}, and answers with one. Imports only what its way needs, so that it
also runs in an environment that has nothing but OpenCV.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRIDE = 16
_BATCH = 16  # pictures that a batch reader is asked for at once
Run = Iterator[Any]
"""Yields the sampled pictures, (H, W, 3) uint8 RGB, and last of all the number of frames."""


def opencv(path: str, threads: int) -> Run:
    """grab() for all frames, retrieve() for the sampled ones."""
    cv2: Any = importlib.import_module("cv2")
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads] if threads else [])
    for number in itertools.count():
        if not capture.grab():
            yield number
            return
        if number % STRIDE == 0:
            yield cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)


def decord(path: str, threads: int) -> Run:
    """get_batch() of the sampled indices."""
    library: Any = importlib.import_module("decord")
    reader = library.VideoReader(path, ctx=library.cpu(0), num_threads=threads)
    for batch in _batches(len(reader)):
        yield from reader.get_batch(batch).asnumpy()
    yield len(reader)


def torchcodec(path: str, threads: int) -> Run:
    """get_frames_at() of the sampled indices, with the exact seek mode, its default."""
    library: Any = importlib.import_module("torchcodec.decoders")
    decoder = library.VideoDecoder(path, num_ffmpeg_threads=threads, dimension_order="NHWC")
    for batch in _batches(len(decoder)):
        yield from decoder.get_frames_at(batch).data.numpy()
    yield len(decoder)


def pyav(path: str, threads: int) -> Run:
    """container.decode(), to_ndarray() for the sampled ones."""
    av: Any = importlib.import_module("av")
    number = 0
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "AUTO", threads
        for frame in container.decode(stream):
            if number % STRIDE == 0:
                yield frame.to_ndarray(format="rgb24")
            number += 1
    yield number


def vadpipe_source(path: str, _threads: int) -> Run:
    """Our default decoder as its child process runs it, in this process."""
    from vadpipe.extractors.decoders import Job, Picture, open_source

    def sampled(count: int) -> NDArray[np.int64]:
        return np.arange(0, count, STRIDE)

    job = Job(Path(path), sampled, 0, 2**40, 1e9, lambda: None)
    source = open_source("vadpipe.extractors.decoders.pyav", job)
    for item in source.items():
        if isinstance(item, Picture) and item.index % STRIDE == 0:
            yield item.rgb()
    yield source.facts.num_frames


def vadpipe_child(path: str, _threads: int) -> Run:
    """open_media(): a child process, whose start counts, one thread, pictures of full size through shared memory."""
    from vadpipe.extractors.media import FrameRow, Request, View, open_media

    with open_media(path, Request(STRIDE, views=(View("full"),))) as reader:
        for item in reader:
            if isinstance(item, FrameRow):
                yield item.image
        yield reader.grid.num_frames


def vadpipe_children(path: str, _threads: int) -> Run:
    """The same video in as many children as there are processors, at once."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        runs = list(pool.map(lambda _core: list(vadpipe_child(path, 1)), range(cores)))
    yield from runs[0][:-1]
    yield sum(run[-1] for run in runs)


def _batches(frames: int) -> Iterator[list[int]]:
    wanted = list(range(0, frames, STRIDE))
    for at in range(0, len(wanted), _BATCH):
        yield wanted[at : at + _BATCH]


WAYS: dict[str, Callable[[str, int], Run]] = {
    way.__name__: way for way in (opencv, decord, torchcodec, pyav, vadpipe_source, vadpipe_child, vadpipe_children)
}


def timed(way: Callable[[str, int], Run], threads: int, path: str, digests: bool) -> dict[str, Any]:
    """One run: its frames, seconds on the clock and of the processors (children included), digests where asked for."""
    before, began = _processor_s(), time.perf_counter()
    seen: list[str] = []
    frames = touched = 0
    for item in way(path, threads):
        if isinstance(item, int):
            frames = item
        else:
            touched += int(item[-1, -1, -1])
            if digests:
                seen.append(hashlib.sha256(np.ascontiguousarray(item).data).hexdigest())
    wall, after = time.perf_counter() - began, _processor_s()
    return {"frames": frames, "wall_s": wall, "cpu_s": after - before, "digests": seen}


def _processor_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Answer until stdin ends; the first answer says that the imports worked."""
    way, threads = WAYS[sys.argv[1]], int(sys.argv[2])
    module = {"opencv": "cv2", "pyav": "av", "torchcodec": "torchcodec.decoders", "decord": "decord"}.get(sys.argv[1])
    importlib.import_module(module or "vadpipe.extractors.media")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(timed(way, threads, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
