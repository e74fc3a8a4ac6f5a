"""Whatever a decoder does, it costs one video and one clear error, and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from tests.extractors.painted_videos import read, write
from vadpipe.errors import DecoderCrashed, DecoderTimeout, VideoError, VideoUnreadable
from vadpipe.extractors import decode_link, decoders, media
from vadpipe.extractors.decoders import DECODERS, Decoder
from vadpipe.extractors.media import AudioChunk, FrameRow, Limits, Request, View, open_media

ROOT = Path(__file__).parents[2]
FULL = Request(views=(View("full"),))
FAKE = Decoder("tests.extractors.fake_decoder", "av", "")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder for files whose names tell the fake decoder how to misbehave."""
    monkeypatch.setattr(decoders, "DECODERS", MappingProxyType({**DECODERS, "fake": FAKE}))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def fake_file(folder: Path, name: str) -> Path:
    path = folder / f"{name}.mp4"
    path.write_bytes(b"\0 no video")
    return path


@dataclass(frozen=True)
class Traces:
    """What a child could leave behind in this process and on this machine."""

    descriptors: tuple[str, ...]
    children: tuple[str, ...]
    shared_memory: tuple[str, ...]
    maps: int

    @classmethod
    def now(cls) -> Traces:
        links = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(entry.readlink()))
            except FileNotFoundError:  # the descriptor of this very listing
                continue
        memory = Path("/dev/shm")
        return cls(
            tuple(sorted(link for link in links if "/proc/" not in link)),
            tuple(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
            tuple(sorted(path.name for path in memory.iterdir() if "vadpipe" in path.name)),
            Path("/proc/self/maps").read_text().count("vadpipe-frames"),
        )


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    gc.collect()  # files that decoders of earlier tests, in this process, still hold
    before = Traces.now()
    yield
    assert Traces.now() == before


def read_all(path: Path, limits: Limits | None = None, request: Request = FULL) -> list[FrameRow | AudioChunk]:
    with open_media(path, request, decoder="fake", limits=limits) as reader:
        return list(reader)


@pytest.mark.usefixtures("leaves_nothing")
@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("hang-in-c", DecoderTimeout, "no progress for 2 s"),
        ("killed", DecoderCrashed, "killed by SIGKILL"),
        ("segfault", DecoderCrashed, "killed by SIGSEGV"),
        ("greedy", DecoderCrashed, r"out of memory \(limit 1.0 GiB\)"),
        ("greedy-in-c", DecoderCrashed, r"killed by SIGABRT \(out of memory, limit 1.0 GiB\).*bad_alloc"),
        ("bug", DecoderCrashed, "exit code 1.*ZeroDivisionError: a bug in the decoder module"),
        ("garbage", DecoderCrashed, "damaged message.*this is no message"),
        ("grows", VideoUnreadable, "picture size grows midway"),
        ("refused", VideoUnreadable, "refused with a clear message"),
    ],
)
def test_a_misbehaving_decoder_is_one_error(name: str, kind: type[VideoError], said: str, fake: Path) -> None:
    limits = Limits(stall_s=2.0 if name == "hang-in-c" else 60.0, memory_bytes=2**30)
    with pytest.raises(kind, match=f"(?s){said}"):
        read_all(fake_file(fake, name), limits)


@pytest.mark.usefixtures("leaves_nothing")
def test_a_decoder_that_prints_does_not_disturb(fake: Path) -> None:
    rows = read_all(fake_file(fake, "chatter"))
    assert [int(row.image[0, 0, 0]) for row in rows if isinstance(row, FrameRow)] == [
        i % 256 for i in range(0, 320, 16)
    ]


def test_progress_keeps_a_slow_decoder_alive(fake: Path) -> None:
    """2.5 seconds of work without a frame, with signs of life, under a limit of 2 seconds."""
    assert len(read_all(fake_file(fake, "slow"), Limits(stall_s=2.0))) == 20


@pytest.mark.usefixtures("leaves_nothing")
def test_a_slow_consumer_is_no_stall_and_holds_the_child_back(fake: Path) -> None:
    """While nobody reads, the child fills its four slots and then waits, for longer than its limit."""
    with open_media(fake_file(fake, "long"), FULL, decoder="fake", limits=Limits(stall_s=2.0, queue_slots=4)) as reader:
        items = iter(reader)
        next(items)
        time.sleep(3.5)  # the alarm is set to 3 s
        status = Path(f"/proc/{reader.child_pid}/status").read_text()
        waiting = buffered(reader)
        assert "State:\tS" in status
        rest = [row for row in items if isinstance(row, FrameRow)]
    assert waiting <= 4
    assert [row.row for row in rest] == list(range(1, 256))
    assert [int(row.image.max()) for row in rest] == [row.frame % 256 for row in rest]


def buffered(reader: media.MediaReader) -> int:
    """Messages that the child has sent and nobody has read."""
    process = reader._child
    assert process is not None
    process._pump(0.5)
    return process._buffer.count(b'"t":"frame"')


def test_slots_are_bounded_by_number_and_bytes() -> None:
    assert decode_link.slots_for(224 * 224 * 3, 32) == 32
    assert decode_link.slots_for(3840 * 2160 * 3, 32) == 21
    assert decode_link.slots_for(decode_link.RING_BYTES, 32) == 2
    fd = decode_link.anonymous_file()
    ring = decode_link.Ring.create(fd, 4, 1000)
    assert os.fstat(fd).st_size == 4000
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(fd, 10)  # would crash the other side
    with pytest.raises(ValueError, match="slot 4"):
        ring.get(4, (10,), np.uint8)
    with pytest.raises(ValueError, match="1001 bytes"):
        ring.get(0, (1001,), np.uint8)
    ring.close()
    os.close(fd)


@pytest.mark.usefixtures("leaves_nothing")
def test_leaving_early_kills_the_child(fake: Path) -> None:
    with open_media(fake_file(fake, "long"), FULL, decoder="fake") as reader:
        next(iter(reader))
        pid = reader.child_pid
        with pytest.raises(RuntimeError, match="after the last item"):
            _ = reader.report
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("leaves_nothing")
def test_a_killed_child_is_an_error_while_reading(fake: Path) -> None:
    with open_media(fake_file(fake, "long"), FULL, decoder="fake", limits=Limits(queue_slots=4)) as reader:
        items = iter(reader)
        next(items)
        os.kill(reader.child_pid, signal.SIGKILL)
        with pytest.raises(DecoderCrashed, match="killed by SIGKILL"):
            list(items)


PARENT = """
import os, sys, time
from types import MappingProxyType
from vadpipe.extractors import decoders
from vadpipe.extractors.media import Limits, Request, View, open_media
path, rows, inherited = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "inherited"
fake = decoders.Decoder("tests.extractors.fake_decoder", "av", "")
decoders.DECODERS = MappingProxyType({"fake": fake})
limits = Limits(queue_slots=2, stall_s=2.0 if inherited else 60.0)
with open_media(path, Request(views=(View("full"),)), decoder="fake", limits=limits) as reader:
    items = iter(reader)
    for _ in range(rows):
        next(items)
    heir = os.fork() if inherited else 0
    if heir or not inherited:
        print(reader.child_pid, heir, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("name", "rows", "life"), [("hang-in-c", 4, "own"), ("long", 1, "own"), ("hang-in-c", 4, "inherited")]
)
def test_the_child_dies_with_its_killed_parent(name: str, rows: int, life: str, fake: Path) -> None:
    """While it hangs with Python's lock held; while it waits for a slot; by its alarm, where the kernel cannot tell.

    It cannot tell where another process inherited the parent's end of the pipe.
    """
    command = [sys.executable, "-c", PARENT, str(fake_file(fake, name)), str(rows), life]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child, heir = map(int, parent.stdout.readline().split())
        time.sleep(0.3)  # until it hangs
        assert alive(child)
        parent.kill()
        if heir:
            assert alive(child)
        deadline = time.monotonic() + 15
        while alive(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        lived_on = alive(child)
        for process in (heir, child) if lived_on else (heir,):
            if process:
                os.kill(process, signal.SIGKILL)
    assert not lived_on


def alive(process: int) -> bool:
    """False also for a zombie that nobody has collected."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_versions_are_known_without_importing_the_decoder() -> None:
    code = (
        "import sys; from vadpipe.extractors.media import decoder_version; "
        "print(decoder_version('pyav'), decoder_version('decord'), {'av', 'decord', 'torch'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    import av

    assert said == f"{av.__version__} 0.6.0 set()\n"


def test_children_import_no_torch() -> None:
    """Start-up time counts once per video."""
    code = "import sys, vadpipe.extractors.decode_child; print({'torch', 'av', 'decord', 'h5py'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_two_readers_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 40)
    with open_media(path, FULL) as one, open_media(path, FULL) as two:
        pairs = list(zip(one, two, strict=True))
    for first, second in pairs:
        assert isinstance(first, FrameRow)
        assert isinstance(second, FrameRow)
        assert read(first.image) == read(second.image) == first.frame
