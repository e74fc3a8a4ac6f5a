"""``vadpipe weights``: the published encoder weights, what is here of them, and whether it is what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors import create
from vadpipe.extractors.weights import KNOWN, KnownWeights, cache_folder, file_sha256, record_first_use, resolve
from vadpipe.extractors.weights_cache import Expected, check_digest, expected_digest

NOT_PUBLISHED = "not published: the first file that fits is recorded here"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One line of the table and its file in the cache folder.

    state
        ``missing``, ``present``, ``damaged`` (another digest than expected, or a record that cannot be read), or
        ``does not fit`` (names or shapes are not the network's).
    sha256, origin
        The digest that the file must have, empty where none is known yet, and in words where it comes from.
    size_bytes
        Of the file; of the table where there is no file; None where neither says.
    reason
        Why it is damaged or does not fit; or what could not be checked.
    """

    name: str
    known: KnownWeights
    path: Path
    state: str
    sha256: str
    origin: str
    size_bytes: int | None
    reason: str = ""

    @property
    def ok(self) -> bool:
        """True where the file is here and nothing is wrong with it."""
        return self.state == "present"


def known_names(name: str | None = None) -> tuple[str, ...]:
    """All names, or the one that was asked for; :class:`UsageError` for one that is not in the table."""
    if name is not None and name not in KNOWN:
        raise UsageError(f"weights: got {name!r}, expected one of {', '.join(KNOWN)}")
    return tuple(KNOWN) if name is None else (name,)


def look(name: str) -> WeightsFile:
    """What is here of one published file; it is hashed, but neither opened nor recorded."""
    known = KNOWN[name]
    path = cache_folder() / known.file_name
    is_here = path.is_file()
    size = path.stat().st_size if is_here else known.size_bytes
    found = WeightsFile(name, known, path, "present" if is_here else "missing", "", NOT_PUBLISHED, size)
    try:
        expected: Expected | None = expected_digest(known, path)
        if expected is None:
            return found
        found = replace(found, sha256=expected.sha256, origin=expected.origin)
        if is_here:
            check_digest(known, path, file_sha256(path), expected)
    except WeightsError as error:
        return replace(found, state="damaged", reason=str(error))
    return found


def get(name: str, *, progress: bool = True) -> WeightsFile:
    """Download a published file unless it is here, and check it as :func:`verify` does.

    :class:`WeightsError` where it cannot be had, is damaged or does not fit.
    """
    (name,) = known_names(name)
    resolve(name, progress=progress)
    found = verify(name)
    if not found.ok:
        raise WeightsError(found.reason)
    return found


def verify(name: str) -> WeightsFile:
    """Hash a file and compare its names and shapes with the network's; a missing one stays ``missing``.

    A file without a published digest is recorded once it fits; unchecked, for want of a package, it is not.
    """
    found = look(name)
    if not found.ok:
        return found
    try:
        create(found.known.stream, weights=str(found.path))  # an encoder checks names and shapes when it is built
    except WeightsError as error:
        return replace(found, state="does not fit", reason=str(error))
    except UsageError as error:  # a package is missing
        return replace(found, reason=f"names and shapes not checked: {error}")
    if found.sha256:
        return found
    try:
        record_first_use(resolve(name, progress=False))
    except WeightsError as error:
        return replace(found, state="damaged", reason=str(error))
    return look(name)


def all_fine(files: Sequence[WeightsFile], asked_for: str | None) -> bool:
    """False where a file is damaged or does not fit, or the one that was asked for is missing."""
    return all(file.ok or (asked_for is None and file.state == "missing") for file in files)
