"""Where encoder weights come from: known files with their digest, a path, or a seed.

Nothing here is executed from a file that is not known: a TorchScript archive is code, so ``torch.jit.load`` opens only
files whose published sha256 stands in ``KNOWN``; every other file has to be safetensors or a plain state dict. The
table is in :mod:`vadpipe.extractors.weights_table`, the folder of downloads in :mod:`vadpipe.extractors.weights_cache`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors.state_file import read_tensors, require_whole
from vadpipe.extractors.weights_cache import (
    cache_folder,
    check_digest,
    download,
    expected_digest,
    file_sha256,
    record_digest,
    record_path,
)
from vadpipe.extractors.weights_table import KNOWN, KnownWeights, default_weights

if TYPE_CHECKING:
    import torch

__all__ = [
    "KNOWN",
    "KnownWeights",
    "Weights",
    "accept",
    "cache_folder",
    "check_fit",
    "default_weights",
    "file_sha256",
    "is_named",
    "parse_weights",
    "read_state",
    "record_first_use",
    "resolve",
]

_NESTS = ("state_dict", "model_state")  # the second: pytorchvideo's files
_ADVICE = "Archives and pickles that hold code are opened only when their sha256 is known; save it as safetensors"


@dataclass(frozen=True, slots=True)
class Weights:
    """A choice that was resolved: either a file that exists and was hashed, or a seed.

    name
        What the feature specification says: a key of ``KNOWN``, a file name, or ``random:SEED``.
    path, sha256
        The file and its digest; None and empty for random weights.
    seed
        Used by random weights only.
    is_first_use
        True where no digest is published and none is recorded yet: :func:`record_first_use` once the file fits.
    """

    name: str
    path: Path | None = None
    sha256: str = ""
    seed: int = 0
    is_first_use: bool = False

    @property
    def is_random(self) -> bool:
        """True for seeded, untrained weights."""
        return self.path is None


def is_named(choice: str) -> bool:
    """True for weights that can be had by their name alone, without a user's file: a key of ``KNOWN``, or random."""
    return choice in KNOWN or choice.partition(":")[0] == "random"


def parse_weights(values: Sequence[str], streams: Sequence[str], *, fill: bool = True) -> dict[str, str]:
    """Stream -> choice for :func:`resolve`, from what ``--weights`` was given; others get :func:`default_weights`.

    values
        Each is ``random`` or ``random:SEED`` (for all streams), ``STREAM=CHOICE``, a name of ``KNOWN`` (for its
        stream), or, for a single stream, a path. A ``STREAM=CHOICE`` goes before a ``random`` for all.
    fill
        False: streams for which nothing was said are left out.

    :class:`UsageError` for a choice that fits no stream, or two for one.
    """
    chosen: dict[str, str] = {}
    for_all = [value for value in values if value.partition(":")[0] == "random"]
    if len(for_all) > 1:
        raise UsageError(f"--weights: got {' and '.join(for_all)}, expected one for all streams")
    for value in values:
        if value in for_all:
            continue
        stream, choice = _stream_and_choice(value, streams)
        if stream in chosen:
            raise UsageError(f"--weights: got {chosen[stream]} and {choice} for the stream {stream}, expected one")
        chosen[stream] = choice
    missing = [stream for stream in streams if stream not in chosen] if for_all or fill else []
    return chosen | {stream: for_all[0] if for_all else default_weights(stream) for stream in missing}


def _stream_and_choice(value: str, streams: Sequence[str]) -> tuple[str, str]:
    known_streams = {known.stream for known in KNOWN.values()}
    stream, sign, choice = value.partition("=")
    if not sign or stream not in {*streams, *known_streams}:  # a path may hold "=" too
        stream, choice = "", value
    if choice in KNOWN:
        stream = stream or KNOWN[choice].stream
        if stream != KNOWN[choice].stream:
            raise UsageError(f"--weights {value}: {choice} is of the stream {KNOWN[choice].stream}")
    if not stream and len(streams) == 1:
        stream = streams[0]
    if not stream or not choice:
        raise UsageError(f"--weights: got {value!r}, expected STREAM=PATH with a stream of {', '.join(streams)}")
    if stream not in streams:
        raise UsageError(f"--weights {value}: the stream {stream} is not in use here, only {', '.join(streams)}")
    return stream, choice


def resolve(choice: str, *, seed: int = 0, progress: bool = True) -> Weights:
    """Turn a user's choice into weights that can be read; downloads a known file that is not in the cache yet.

    choice
        A key of ``KNOWN``, a path, ``random`` (seeded by ``seed``) or ``random:SEED``.
    progress
        Show a bar on stderr while downloading.

    :class:`WeightsError` where a known file is missing and cannot be downloaded, or does not match its digest;
    :class:`UsageError` for anything else. A copy of a known file is recognised by its published digest, whatever its
    path; one whose digest is only recorded here is not, because one file would have two names on two machines.
    """
    if choice == "random" or choice.startswith("random:"):
        return _random_choice(choice, seed)
    if choice in KNOWN:
        return _resolve_known(choice, KNOWN[choice], progress)
    path = _file(choice)
    digest = file_sha256(path)
    return Weights(name=_known_by_digest(digest) or path.name, path=path, sha256=digest)


def _file(choice: str) -> Path:
    try:
        path = Path(choice).expanduser()
        if path.is_file():
            return path
        reason = "no file"
    except (OSError, RuntimeError) as error:  # a name that is too long, the home of a user who does not exist
        reason = f"no file ({error})"
    raise UsageError(
        f"weights: got {choice!r}, which is {reason}; expected a path, random, random:SEED or {', '.join(KNOWN)}"
    )


def _random_choice(choice: str, seed: int) -> Weights:
    text = choice.partition(":")[2] if ":" in choice else str(seed)
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"weights: got {choice!r} (seed {text}), expected random:SEED with a whole number, 0 or more")
    return Weights(name=f"random:{int(text)}", seed=int(text))


def _resolve_known(name: str, known: KnownWeights, progress: bool) -> Weights:
    path = cache_folder() / known.file_name
    if not path.is_file():
        download(known, path, _readable, progress=progress)
    digest = file_sha256(path)
    expected = expected_digest(known, path)
    if expected is not None:
        check_digest(known, path, digest, expected)
    return Weights(name=name, path=path, sha256=digest, is_first_use=expected is None)


def _readable(path: Path) -> None:
    """:class:`WeightsError` unless the file is a state dict: no other download is kept where no digest is known."""
    read_tensors(path, _NESTS, _ADVICE)


def _known_by_digest(digest: str) -> str | None:
    """Name of the known file with this published digest."""
    return next((name for name, known in KNOWN.items() if known.sha256 == digest), None)


def read_state(weights: Weights) -> dict[str, torch.Tensor]:
    """Read a file into name -> tensor on the CPU; floating-point tensors become float32 (OpenAI's are half precision).

    :class:`WeightsError` for a file that is none of: a known file, safetensors, a ``.pt`` (``.pth``, ``.pyth``,
    ``.pickle``) state dict, bare or under ``state_dict`` or ``model_state``. ValueError for random weights, which have
    no file.
    """
    if weights.path is None:
        raise ValueError(f"{weights.name} has no file to read")
    tensors = _read_tensors(weights.path, weights.sha256)
    require_whole(weights.path, tensors)  # what follows copies them
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _read_tensors(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    import torch

    trusted = {known.sha256 for known in KNOWN.values() if known.torchscript and known.sha256}
    if sha256 in trusted:
        with warnings.catch_warnings():
            # deprecated for new files; this one was published as an archive
            warnings.filterwarnings("ignore", "`torch.jit.load` is", DeprecationWarning)
            archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # torch has no types
        return dict(archive.state_dict())
    return read_tensors(path, _NESTS, _ADVICE)


def accept(weights: Weights, state: Mapping[str, torch.Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Let a file be used: :func:`check_fit`, and then :func:`record_first_use` where it is one.

    :class:`WeightsError` with what to do where it does not fit; nothing is recorded then.
    """
    try:
        check_fit(state, wanted, str(weights.path))
    except WeightsError as error:
        raise WeightsError(f"{error}{_advice(weights.path)}") from error
    record_first_use(weights)


def _advice(path: Path | None) -> str:
    """How to get another file in the place of one of the cache folder that does not fit; empty for other files."""
    known = next((known for known in KNOWN.values() if path is not None and path.name == known.file_name), None)
    if known is None or path is None or known.sha256 or path.parent != cache_folder():
        return ""
    record = f" and {record_path(path)}" if record_path(path).exists() else ""
    return f". Delete {path}{record} to download it again, or put the right file there ({known.url})"


def record_first_use(weights: Weights) -> None:
    """Record the digest of a file that fits, if it is a first use, so that no other one is taken for it ever after.

    :class:`WeightsError` where the cache folder cannot be written.
    """
    if weights.is_first_use and weights.path is not None:
        record_digest(KNOWN[weights.name], weights.path, weights.sha256, weights.path.stat().st_size)


def check_fit(state: Mapping[str, torch.Tensor], wanted: Mapping[str, tuple[int, ...]], origin: str) -> None:
    """Raise :class:`WeightsError` with the first differences unless names and shapes are the network's."""
    problems = [f"{name}: missing" for name in wanted if name not in state]
    problems += [f"{name}: not part of the network" for name in state if name not in wanted]
    problems += [
        f"{name}: got shape {tuple(state[name].shape)}, expected {tuple(shape)}"
        for name, shape in wanted.items()
        if name in state and tuple(state[name].shape) != tuple(shape)
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise WeightsError(f"{origin} does not fit the network, {len(problems)} differences: {shown}")
