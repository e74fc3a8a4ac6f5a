"""The folder that keeps published weights: downloads that are whole or not there, and digests recorded at first use.

Trust on first use: where a publisher gives no digest, the first file that fits its network is recorded in a small
JSON beside it, ``<file>.json``; from then on no other file is accepted under that name until a person deletes the
record. That does not prove that the first file was the right one, and whatever lists such a digest has to say so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from vadpipe.errors import StoreError, UsageError, WeightsError
from vadpipe.extractors.state_file import MAX_BYTES
from vadpipe.extractors.weights_table import KnownWeights
from vadpipe.outside import open_regular, read_json
from vadpipe.track_file import atomic_write

SCHEMA = "vadpipe.weights/1"
_TIMEOUT_S = 5.0
_BLOCK = 1 << 20
_PART = ".part-"
_STALE_S = 3600.0
_MAX_RECORD = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Expected:
    """The digest that a file must have, hexadecimal, and in words where it comes from.

    origin
        ``published`` or ``recorded here on <date>``.
    """

    sha256: str
    origin: str


def cache_folder() -> Path:
    """Where downloads are kept: ``$VADPIPE_WEIGHTS``, else ``~/.cache/vadpipe/weights``; it need not exist.

    :class:`UsageError` for what cannot be a folder.
    """
    named = os.environ.get("VADPIPE_WEIGHTS", "")
    try:
        folder = Path(named).expanduser() if named else Path.home() / ".cache" / "vadpipe" / "weights"
        reason = "it is no folder" if folder.exists() and not folder.is_dir() else ""
    except (OSError, RuntimeError) as error:  # a name that is too long, the home of a user who does not exist
        reason = str(error)
    if reason:
        what = f"VADPIPE_WEIGHTS: got {named!r:.200}" if named else "weights: the home folder"
        raise UsageError(f"{what}, which cannot be used ({reason}). Set VADPIPE_WEIGHTS to a folder for the weights")
    return folder


def file_sha256(path: Path) -> str:
    """sha256 of a file, hexadecimal; read in blocks. WeightsError where it cannot be read."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error


def record_path(path: Path) -> Path:
    """Where the digest of the file at ``path`` is recorded."""
    return path.with_name(f"{path.name}.json")


def expected_digest(known: KnownWeights, path: Path) -> Expected | None:
    """What the file at ``path`` must hash to; None where no digest is published and none is recorded yet.

    :class:`WeightsError` for a record that cannot be read: it must not count as none.
    """
    if known.sha256:
        return Expected(known.sha256, "published")
    record = record_path(path)
    try:
        told = read_json(record, _MAX_RECORD)
        if told["schema"] != SCHEMA or not _SHA256.fullmatch(told["sha256"]):
            raise ValueError("other content")
        return Expected(told["sha256"], f"recorded here on {datetime.fromisoformat(told['recorded']).date()}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{record} is no record of a digest ({error!s:.100}). Restore it, or delete it to trust {path.name} anew"
        ) from error


def record_digest(known: KnownWeights, path: Path, sha256: str, size_bytes: int) -> None:
    """Write the record of ``path``.

    :class:`WeightsError` where the folder cannot be written: a digest that is not kept cannot be checked ever after.
    """
    content = {"schema": SCHEMA, "url": known.url, "sha256": sha256, "size_bytes": size_bytes}
    content["recorded"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        atomic_write(record_path(path), (json.dumps(content, indent=1) + "\n").encode())
    except StoreError as error:
        raise WeightsError(
            f"the digest of {path} cannot be recorded: {error}. Make the folder writable once, bring the record from "
            f"another machine, or give the file's path with --weights {known.stream}=PATH"
        ) from error


def check_digest(known: KnownWeights, path: Path, digest: str, expected: Expected) -> None:
    """:class:`WeightsError` unless ``digest``, that of the file at ``path``, is the expected one."""
    if digest == expected.sha256:
        return
    anew = "" if known.sha256 else f"; if the publisher has changed it and you accept that, delete {record_path(path)}"
    raise WeightsError(
        f"{path} has sha256 {digest}, expected {expected.sha256} ({expected.origin}; {known.model}): the file is "
        f"damaged or another one. Delete it to download it again, or replace it by {known.url}{anew}"
    )


def download(known: KnownWeights, target: Path, check: Callable[[Path], None], *, progress: bool = True) -> None:
    """Fetch to a temporary file beside ``target``, check, then rename: ``target`` is whole or not there.

    check
        Raises :class:`WeightsError` for a file that is no weights at all; called where no digest tells. Whether they
        fit is not known here, so that nothing is recorded yet.

    :class:`WeightsError` where the file cannot be had or is another than expected.
    """
    expected = expected_digest(known, target)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=_PART, suffix=target.suffix, delete=False) as file:
            part = Path(file.name)
            digest = _fetch(known, file, progress)
            file.flush()
            os.fsync(file.fileno())
        if expected is None:
            _check_unknown(known, part, target, check)
        elif digest != expected.sha256:
            raise WeightsError(_other_file(known, target, digest, expected))
        part.replace(target)
    except (OSError, HTTPException) as error:
        raise WeightsError(_unavailable(known, target, expected, error)) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed downloads left; one that runs writes to its file all the time."""
    for part in folder.glob(f"{_PART}*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()


def _check_unknown(known: KnownWeights, part: Path, target: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except WeightsError as error:
        raise WeightsError(
            f"{known.url} gave a file that is no weights, so it was not kept: an incomplete download or a proxy's page "
            f"({str(error).replace(str(part), 'it')}). Try again, or put the right file at {target}"
        ) from error


def _other_file(known: KnownWeights, target: Path, digest: str, expected: Expected) -> str:
    anew = "" if known.sha256 else f", or delete {record_path(target)} if you accept that the publisher has changed it"
    return (
        f"{known.url} gave a file with sha256 {digest}, expected {expected.sha256} ({expected.origin}): an incomplete "
        f"download or a proxy's page. Try again, or put the right file at {target}{anew}"
    )


def _unavailable(known: KnownWeights, target: Path, expected: Expected | None, error: Exception) -> str:
    digest = f"sha256 {expected.sha256}, {expected.origin}" if expected else "sha256 unknown, none is published"
    return (
        f"{known.model} weights are missing and the download failed ({error}). Fetch {known.url} "
        f"({digest}; licence: {known.licence}) on a machine with internet and put it at {target}, or give its path "
        f"with --weights PATH (of several streams: --weights {known.stream}=PATH), or use --weights random for "
        "untrained features"
    )


class _NoDowngrade(HTTPRedirectHandler):
    """An encrypted address must not lead to an open one: what comes from there may be anyone's."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise OSError(f"{req.full_url} leads to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(known: KnownWeights, file: Any, progress: bool) -> str:
    """Copy the URL into ``file``; returns the sha256 of what came. OSError for less or more than was announced."""
    from rich.console import Console
    from rich.progress import Progress

    digest, size = hashlib.sha256(), 0
    with (
        build_opener(_NoDowngrade).open(known.url, timeout=_TIMEOUT_S) as response,  # the URL is our table's
        Progress(console=Console(stderr=True), disable=not progress) as bar,
    ):
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isascii() and length.isdecimal() else known.size_bytes
        task = bar.add_task(f"{known.model} weights", total=total)
        while block := response.read(_BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
            bar.advance(task, len(block))
            if size > MAX_BYTES:
                raise OSError(f"more than {MAX_BYTES} bytes came")
    if total is not None and size != total:
        raise OSError(f"{size} of {total} bytes came")
    return digest.hexdigest()
