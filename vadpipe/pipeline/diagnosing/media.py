"""What ``vadpipe doctor`` asks of the decoders: the right frames of a painted video, through the real child process."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from vadpipe.errors import UsageError, VideoError
from vadpipe.extractors import media
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.painted import EVERY, expected_numbers, read_number
from vadpipe.pipeline.diagnosing.check import BROKEN, NOTE, OK, WARNING, Check, first_line
from vadpipe.pipeline.diagnosing.child import AskError, ask

DEFAULT = "pyav"
_CONFINEMENT = "Linux 5.13 or newer on x86-64 or ARM64, whose container lets programs confine themselves"
_REINSTALL = "pip install --force-reinstall av"


def painted_video(path: Path) -> Check:
    """Write the painted video to ``path``; the line tells PyAV and its FFmpeg."""
    try:
        version = metadata.version("av")
        ffmpeg = ask("paint", path)["ffmpeg"]
    except metadata.PackageNotFoundError:
        return Check("PyAV", BROKEN, "not installed", "pip install av")
    except AskError as error:
        return Check("PyAV", BROKEN, f"cannot write a video: {error}", _REINSTALL)
    return Check("PyAV", OK, f"{version}, with its own FFmpeg {ffmpeg}")


def confinement() -> Check:
    """What decoder children give up besides their limits, as far as Linux lets them: decisions/0003-decoding.md."""
    title = "decoder confinement"
    try:
        facts = ask("confine")
    except AskError as error:
        return Check(title, WARNING, f"not known: {error}", _CONFINEMENT)
    parts = {
        "landlock": "files (Landlock)",
        "seccomp": "sockets and programs (seccomp)",
        "no_new_privs": "rights (no_new_privs)",
    }
    held = ", ".join(word for name, word in parts.items() if facts[name])
    missing = ", ".join(word for name, word in parts.items() if not facts[name])
    if not missing:
        return Check(title, OK, f"{held}: refused but for the video")
    return Check(title, NOTE, f"missing: {missing}; held: {held or 'none'}; limits and formats hold", _CONFINEMENT)


def decoder(name: str, painted: Path) -> Check:
    """Decode the painted video with one decoder and compare the numbers that its frames show."""
    title = f"decoder {name}"
    is_default = name == DEFAULT
    lookup = DECODERS[name]
    try:
        metadata.version(lookup.distribution)
    except metadata.PackageNotFoundError:
        return Check(title, BROKEN if is_default else NOTE, "not installed", lookup.install)
    bad = BROKEN if is_default else WARNING
    fix = _REINSTALL if is_default else f"{lookup.install}, or leave --decoder {name} out"
    if not painted.is_file():
        return Check(title, bad, "not tried: the painted video could not be written", _REINSTALL)
    try:
        version = media.decoder_version(name)
        request = media.Request(EVERY, views=(media.View("full"),))
        with media.open_media(painted, request, decoder=name) as reader:
            shown = [read_number(item.image) for item in reader if isinstance(item, media.FrameRow)]
    except UsageError as error:  # it cannot be loaded
        ffmpeg = "apt-get install --yes ffmpeg   (or: conda install --channel conda-forge ffmpeg)"
        return Check(title, bad, first_line(error), ffmpeg if lookup.missing else fix)
    except VideoError as error:
        return Check(title, bad, f"does not decode: {first_line(error)}", fix)
    if shown != expected_numbers():
        return Check(title, bad, f"{version}: shows the frames {shown}, expected {expected_numbers()}", fix)
    return Check(title, OK, f"{version}: decoded {len(shown)} painted frames, each the right one")
