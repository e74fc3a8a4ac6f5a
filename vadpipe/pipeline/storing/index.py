"""Putting a store's index in order: one line for each track, sorted by id.

``manifest.jsonl`` grows by a line for each track that is finished, in the order in which they are; a track that is made
anew, or whose video was only touched, gets another one. Several writers append at the same moment. So no extraction
puts it in order, which would be a race; ``vadpipe store gc --delete`` does, when all are done.
"""

from __future__ import annotations

from pathlib import Path

from vadpipe.errors import StoreError
from vadpipe.outside import parse_json
from vadpipe.store import MANIFEST, index_line, stored_file
from vadpipe.whole_file import atomic_write, disk_reason


def in_order(folder: Path) -> bytes:
    """What the index of one specification is without torn and replaced lines, sorted by id.

    Lines whose files are gone stay: ``vadpipe store verify`` tells of these. Torn are lines that are no JSON object;
    one that has other fields than this version knows is another version's, and stays as it is.
    """
    lines: dict[tuple[bool, str | bytes], tuple[str, bytes]] = {}
    for line in (folder / MANIFEST).read_bytes().split(b"\n"):
        try:
            told = parse_json(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            name, entry = told.get("id"), stored_file(told)
            key = (True, entry.id) if entry is not None else (False, line)
            lines.pop(key, None)  # of one id, the order in which they came decides
            content = index_line(entry).encode() if entry is not None else line + b"\n"
            lines[key] = (name if isinstance(name, str) else "", content)
    return b"".join(content for _, content in sorted(lines.values(), key=lambda item: item[0]))


def is_in_order(folder: Path) -> bool:
    """Whether there is nothing to do, or no index; one that is a link is none of ours."""
    manifest = folder / MANIFEST
    try:
        return manifest.is_symlink() or not manifest.is_file() or manifest.read_bytes() == in_order(folder)
    except OSError:
        return True  # whoever needs it says so


def put_in_order(folder: Path) -> int:
    """Write the index anew; returns by how many bytes it is smaller, 0 where it is longer.

    :class:`StoreError` where that cannot be done. One that grew meanwhile is left as it is. A line that comes in the
    last moment may be lost, with which nothing is: the next extraction looks at the digest of that video once, and adds
    its line again.
    """
    manifest = folder / MANIFEST
    try:
        before = manifest.stat()
        content = in_order(folder)
        now = manifest.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return 0
    except FileNotFoundError:
        return 0  # another gc
    except OSError as error:
        raise StoreError(f"cannot read {manifest}: {disk_reason(error)}") from error
    atomic_write(manifest, content, as_before=True)  # others append to it, too
    return max(before.st_size - len(content), 0)  # a torn end may lack its newline
