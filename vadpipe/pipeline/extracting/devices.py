"""Extraction on several devices: one process with its own encoders for each, all fed from one list of videos.

The processes share nothing but the list: each takes the next video when it has room, and writes to the store, whose
files appear whole or not at all.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vadpipe.errors import UsageError, VadpipeError, WorkerDied
from vadpipe.extractors import Extractor
from vadpipe.pipeline.extract import ExtractOptions, ExtractSummary, Outcome, Step, extract
from vadpipe.store import FeatureStore

_LOOK_S = 1.0


def gpu_devices(choice: str) -> tuple[str, ...]:
    """``all``, or numbers such as ``0,2`` -> names of torch devices; :class:`UsageError` where they are not there."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise UsageError(
            f"--gpus {choice}: torch sees no GPU; leave it out to use the processor, and see vadpipe doctor"
        )
    numbers = [str(number) for number in range(count)] if choice == "all" else choice.replace(" ", "").split(",")
    if not all(number.isdecimal() and int(number) < count for number in numbers) or len(set(numbers)) < len(numbers):
        raise UsageError(f"--gpus: got {choice!r}, expected all, or different numbers below {count}, as in 0,1")
    return tuple(f"cuda:{number}" for number in numbers)


def extract_on(
    devices: Sequence[str],
    build: Callable[[str], Sequence[Extractor]],
    videos: Mapping[str, Path],
    store: FeatureStore,
    options: ExtractOptions,
    notify: Callable[[Outcome], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> ExtractSummary:
    """:func:`vadpipe.pipeline.extract.extract` on one or several devices.

    ``build`` makes the encoders for a device; for several it must be picklable, a function of a module or a partial
    of one. ``options.jobs`` holds for each device. Errors as of ``extract``, and :class:`vadpipe.errors.WorkerDied`;
    an error of one process ends them all, and what was finished is kept.
    """
    if len(devices) == 1:
        return extract(videos, store, build(devices[0]), decoding_on(devices[0], options), notify, on_step)
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    tasks, events = context.Queue(), context.Queue()
    for pair in videos.items():
        tasks.put(pair)
    for _ in devices:
        tasks.put(None)
    workers = {
        number: context.Process(
            target=_work,
            args=(number, device, build, store.root, decoding_on(device, options), tasks, events),
            daemon=True,
        )
        for number, device in enumerate(devices)
    }
    try:
        for worker in workers.values():
            worker.start()
        return _collect(workers, events, notify, on_step)
    finally:
        for worker in workers.values():
            if worker.pid is not None:  # it was started
                worker.terminate()  # ended already, unless something went wrong; decoders end with their process
                worker.join()
        tasks.cancel_join_thread()


def decoding_on(device: str, options: ExtractOptions) -> ExtractOptions:
    """The options of an encoder on ``device``: where GPUs decode, it is its own."""
    return options if options.decode_device == "cpu" else replace(options, decode_device=device)


def _collect(
    workers: Mapping[int, Any],
    events: Any,
    notify: Callable[[Outcome], None] | None,
    on_step: Callable[[Step], None] | None,
) -> ExtractSummary:
    total, running = ExtractSummary(), set(workers)
    while running:
        for number, event in _received(events, workers, running):
            match event:
                case Outcome():
                    if notify is not None:
                        notify(event)
                case Step():
                    if on_step is not None:
                        on_step(event)
                case ExtractSummary():
                    _add(total, event)
                    running.discard(number)
                case _:
                    raise event
    return total


def _received(events: Any, workers: Mapping[int, Any], running: set[int]) -> Iterator[tuple[int, Any]]:
    """What was said since the last look; WorkerDied, however busy the others are, for one that ended without a word."""
    dead = [number for number in running if not workers[number].is_alive()]  # looked at before what they said last
    try:
        yield events.get(block=not dead, timeout=_LOOK_S)
        while dead:
            yield events.get_nowait()
    except queue.Empty:
        pass
    for number in running.intersection(dead):
        raise WorkerDied(
            f"the process of device {number} ended with code {workers[number].exitcode}. Finished videos are kept; "
            "run the same command to go on, with fewer --jobs or a smaller --batch-size if memory was short."
        )


def _add(total: ExtractSummary, part: ExtractSummary) -> None:
    total.done += part.done
    total.kept += part.kept
    total.failed |= part.failed
    total.warnings += part.warnings
    total.frames += part.frames
    total.rows += part.rows
    total.seconds = max(total.seconds, part.seconds)


def _work(
    number: int,
    device: str,
    build: Callable[[str], Sequence[Extractor]],
    root: Path,
    options: ExtractOptions,
    tasks: Any,
    events: Any,
) -> None:
    """One process: take videos until the list is empty, tell of everything, and end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    videos: Iterable[tuple[str, Path]] = iter(tasks.get, None)
    try:
        summary = extract(
            videos,
            FeatureStore(root),
            build(device),
            options,
            lambda outcome: events.put((number, outcome)),
            lambda step: events.put((number, step)),
        )
        events.put((number, summary))
    except VadpipeError as error:
        events.put((number, error))
    except BaseException:  # a bug: told whole, since a traceback does not travel
        events.put((number, RuntimeError(f"on {device}:\n{traceback.format_exc()}")))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
