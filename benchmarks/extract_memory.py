"""Peak memory of extracting a short and a long video; see ``extract.py --memory``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vadpipe.extractors import Extractor, Needs, create, geometry
from vadpipe.pipeline.extract import ExtractOptions, extract
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore

_LOOK_S = 0.05


@dataclass(frozen=True)
class StandIn:
    """Takes and gives what an encoder does, without its network."""

    needs: Needs
    batch_size: int
    specified: FeatureSpec

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        """The encoder's own, under another name."""
        given = (frames_per_snippet, decoder, decoder_version, decode_device)
        names = ("frames_per_snippet", "decoder", "decoder_version", "decode_device")
        changed: dict[str, Any] = {"model": "stand-in", **dict(zip(names, given, strict=True))}
        return replace(self.specified, **changed)

    def encode(self, items: Any) -> NDArray[np.float32]:
        """Rows of one number each, the mean of the item."""
        crops = geometry.crops(self.needs.geometry) if self.needs.geometry else 1
        rows = np.empty((len(items), crops, self.specified.dim), np.float32)
        rows[:] = items.reshape(len(items), -1)[:, ::97].mean(axis=1)[:, None, None]
        return rows[:, 0] if crops == 1 else rows


def print_memory(source: Path, streams: Sequence[str], jobs: int) -> None:
    """Peak resident memory for 1 and for 60 minutes made of ``source``."""
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, 60):
            video = loop(source, Path(folder) / f"{minutes}.mp4", minutes)
            began = time.perf_counter()
            peaks.append(_peak_mib([str(video), ",".join(streams), str(jobs), f"{folder}/store"]))
            took = time.perf_counter() - began
            print(f"{minutes:>2} minutes, {'+'.join(streams)}: peak {peaks[-1]:.0f} MiB ({took:.0f} s)", flush=True)
    print(f"difference: {peaks[1] - peaks[0]:.0f} MiB")


def loop(source: Path, target: Path, minutes: float) -> Path:
    """Repeat the packets of ``source`` until there are so many minutes."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        copies = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        length = Fraction(given.duration or 0, av.time_base)
        for number in range(int(-(-minutes * 60 // length))):
            given.seek(0)
            for packet in given.demux():
                if packet.dts is None or packet.pts is None or packet.size == 0:
                    continue
                shift = round(number * length / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = copies[packet.stream_index]
                made.mux(packet)
    return target


def _peak_mib(arguments: list[str]) -> float:
    peak, code = peak_of(subprocess.Popen([sys.executable, __file__, *arguments]))
    if code:
        sys.exit("the extraction failed")
    return peak


def peak_of(process: subprocess.Popen[Any]) -> tuple[float, int]:
    """Peak resident memory in MiB of a process and all it starts, and its exit code; waits for its end."""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, resident_of(process.pid))
        time.sleep(_LOOK_S)
    return peak, process.returncode


def resident_of(pid: int) -> float:
    """Resident memory in MiB of a process and its descendants, added up, so that shared pages count for each."""
    return sum(_resident_mib(member) for member in _family(pid))


def _family(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [member for child in children.read_text().split() for member in _family(int(child))]
        except OSError:
            continue
    return found


def _resident_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _extract(video: str, streams: str, jobs: str, store: str) -> None:
    """What the measured process does; torch is imported and blocks are kept, as with real encoders."""
    stand_ins: list[Extractor] = []
    for name in streams.split(","):
        real = create(name, weights="random")
        spec = real.spec(16, "pyav", "0")
        stand_ins.append(StandIn(real.needs, real.batch_size, spec))
    summary = extract({Path(video).stem: Path(video)}, FeatureStore(store), stand_ins, ExtractOptions(jobs=int(jobs)))
    if summary.failed:
        sys.exit(f"failed: {summary.failed}")


if __name__ == "__main__":
    _extract(*sys.argv[1:5])
