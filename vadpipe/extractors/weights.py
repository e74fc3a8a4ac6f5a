"""Where encoder weights come from: known files with their digest, a path, or a seed.

Nothing here is executed from a file that is not known: a TorchScript archive is code, so ``torch.jit.load`` opens only
files whose sha256 stands in ``KNOWN``; every other file has to be safetensors or a plain state dict.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors.state_file import read_tensors

if TYPE_CHECKING:
    import torch

_TIMEOUT_S = 5.0
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A published file.

    model, licence
        What it is and under which terms its publisher gives it away.
    url, file_name, sha256
        Where it is, how it is called in the cache folder, what it must hash to (hexadecimal).
    size_bytes
        None where it is not known.
    torchscript
        True for an archive that holds code; False for safetensors and state dicts.
    """

    model: str
    url: str
    file_name: str
    sha256: str
    licence: str
    size_bytes: int | None = None
    torchscript: bool = False


_OPENAI_SHA256 = "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"

KNOWN: Mapping[str, KnownWeights] = MappingProxyType(
    {
        "openai": KnownWeights(
            model="CLIP ViT-B/16",
            # the publisher names the folder after the file's digest
            url=f"https://openaipublic.azureedge.net/clip/models/{_OPENAI_SHA256}/ViT-B-16.pt",
            file_name="ViT-B-16.pt",
            sha256=_OPENAI_SHA256,
            licence="MIT",
            torchscript=True,
        ),
    }
)
"""Name -> published file."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A choice that was resolved: either a file that exists and was hashed, or a seed.

    name
        What the feature specification says: a key of ``KNOWN``, a file name, or ``random:SEED``.
    path, sha256
        The file and its digest; None and empty for random weights.
    seed
        Used by random weights only.
    """

    name: str
    path: Path | None = None
    sha256: str = ""
    seed: int = 0

    @property
    def is_random(self) -> bool:
        """True for seeded, untrained weights."""
        return self.path is None


def cache_folder() -> Path:
    """Where downloads are kept: ``$VADPIPE_WEIGHTS``, else ``~/.cache/vadpipe/weights``; it need not exist."""
    named = os.environ.get("VADPIPE_WEIGHTS", "")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "vadpipe" / "weights"


def resolve(choice: str, *, seed: int = 0, progress: bool = True) -> Weights:
    """Turn a user's choice into weights that can be read; downloads a known file that is not in the cache yet.

    choice
        A key of ``KNOWN``, a path, ``random`` (seeded by ``seed``) or ``random:SEED``.
    progress
        Show a bar on stderr while downloading.

    :class:`WeightsError` where a known file is missing and cannot be downloaded, or does not match its digest;
    :class:`UsageError` for anything else. A copy of a known file is recognised by its digest, whatever its path.
    """
    if choice == "random" or choice.startswith("random:"):
        return _random_choice(choice, seed)
    if choice in KNOWN:
        return _resolve_known(choice, KNOWN[choice], progress)
    path = Path(choice).expanduser()
    if not path.is_file():
        raise UsageError(
            f"weights: got {choice!r}, which is no file; expected a path, random, random:SEED or {', '.join(KNOWN)}"
        )
    digest = file_sha256(path)
    name = next((name for name, known in KNOWN.items() if known.sha256 == digest), path.name)
    return Weights(name=name, path=path, sha256=digest)


def _random_choice(choice: str, seed: int) -> Weights:
    text = choice.partition(":")[2] if ":" in choice else str(seed)
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"weights: got {choice!r} (seed {text}), expected random:SEED with a whole number, 0 or more")
    return Weights(name=f"random:{int(text)}", seed=int(text))


def _resolve_known(name: str, known: KnownWeights, progress: bool) -> Weights:
    path = cache_folder() / known.file_name
    if not path.is_file():
        _download(known, path, progress)
    if (digest := file_sha256(path)) != known.sha256:
        raise WeightsError(
            f"{path} has sha256 {digest}, expected {known.sha256} ({known.model}): the file is damaged or another one. "
            f"Delete it to download it again, or replace it by {known.url}"
        )
    return Weights(name=name, path=path, sha256=digest)


def file_sha256(path: Path) -> str:
    """sha256 of a file, hexadecimal; read in blocks. WeightsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def _download(known: KnownWeights, target: Path, progress: bool) -> None:
    """Fetch to a temporary file beside ``target``, check, then rename: ``target`` is whole or not there."""
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False) as file:
            part = Path(file.name)
            digest = _fetch(known, file, progress)
            file.flush()
            os.fsync(file.fileno())
        if digest != known.sha256:
            raise WeightsError(
                f"{known.url} gave a file with sha256 {digest}, expected {known.sha256}: an incomplete download or "
                f"a proxy's page. Try again, or put the right file at {target}"
            )
        part.replace(target)
    except (OSError, HTTPException) as error:
        raise WeightsError(
            f"{known.model} weights are missing and the download failed ({error}). Fetch {known.url} "
            f"(sha256 {known.sha256}, {known.licence}) on a machine with internet and put it at {target}, "
            f"or give its path with --weights PATH, or use --weights random for untrained features"
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _fetch(known: KnownWeights, file: Any, progress: bool) -> str:
    """Copy the URL into ``file``; returns the sha256 of what came."""
    from urllib.request import urlopen

    from rich.console import Console
    from rich.progress import Progress

    digest = hashlib.sha256()
    # the URL is one of KNOWN's, never a user's, and what comes back has to have the right digest
    with (
        urlopen(known.url, timeout=_TIMEOUT_S) as response,  # noqa: S310  # the URL is our table's, https
        Progress(console=Console(stderr=True), disable=not progress) as bar,
    ):
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else known.size_bytes
        task = bar.add_task(f"{known.model} weights", total=total)
        while block := response.read(_BLOCK):
            file.write(block)
            digest.update(block)
            bar.advance(task, len(block))
    return digest.hexdigest()


def read_state(weights: Weights) -> dict[str, torch.Tensor]:
    """Read a file into name -> tensor on the CPU; floating-point tensors become float32 (OpenAI's are half precision).

    :class:`WeightsError` for a file that is none of: a known file, safetensors, a ``.pt`` or ``.pth`` state dict
    (bare or under ``state_dict``). ValueError for random weights, which have no file.
    """
    if weights.path is None:
        raise ValueError(f"{weights.name} has no file to read")
    tensors = _read_tensors(weights.path, weights.sha256)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _read_tensors(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    import torch

    trusted = {known.sha256 for known in KNOWN.values() if known.torchscript}
    if sha256 in trusted:
        with warnings.catch_warnings():
            # deprecated for new files; this one was published as an archive
            warnings.filterwarnings("ignore", "`torch.jit.load` is", DeprecationWarning)
            archive = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]  # torch has no types
        return dict(archive.state_dict())
    return read_tensors(
        path,
        advice="Archives and pickles that hold code are opened only when their sha256 is known; save it as safetensors",
    )


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
