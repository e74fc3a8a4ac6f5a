"""Files that somebody else may have made: regular files only, of a bounded size, parsed without surprises.

Python's parsers let a small file stop a program: a JSON list a hundred thousand deep ends in RecursionError, a number
of five thousand digits in a ValueError that is no JSONDecodeError, and the memory that a dotted TOML key takes grows
with the square of its parts. Whatever vadpipe parses goes through here, so that a caller has OSError and ValueError to
expect and nothing else. docs/security.md lists who relies on it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tomllib
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Any

MOST_SETTINGS = 256 << 10
"""Bytes of a TOML file; the longest of ours has 3 kB."""

MOST_JSON = 64 << 20
"""Bytes of a JSON file, whose content can take twenty times as much memory."""

_MOST_DIGITS = 20  # of a whole number: 64 bits have 20
_MOST_DOTS = 200  # on a line of TOML
_PIECE = 1 << 16


class NoRegularFile(OSError):
    """A pipe, socket or device where a file is expected; its ``strerror`` says so."""

    def __str__(self) -> str:
        return str(self.strerror)


def open_regular(path: str | Path) -> BufferedReader:
    """Open a file for reading; OSError for what is no regular file. A pipe would be waited for without end."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(path, flags | os.O_NONBLOCK)
        except BlockingIOError:  # a lease of another program, a file server's, which ends when it is waited for
            _check_mode(os.stat(path).st_mode, path)  # noqa: PTH116  # path may be text
            descriptor = os.open(path, flags)
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error)) from error
    try:
        _check_mode(os.fstat(descriptor).st_mode, path)
        os.set_blocking(descriptor, True)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def require_regular(path: str | Path) -> None:
    """OSError where there is no regular file at ``path``: for libraries that open it themselves, and would wait."""
    try:
        _check_mode(os.stat(path).st_mode, path)  # noqa: PTH116  # path may be text
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error)) from error


def _check_mode(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if stat.S_ISFIFO(mode):  # <(…) of a shell is one, too
        raise NoRegularFile(errno.EINVAL, "it is no regular file but a pipe; write its content to a file first")
    if not stat.S_ISREG(mode):
        raise NoRegularFile(errno.EINVAL, "it is no regular file")


def read_regular(path: str | Path, most: int) -> bytes:
    """Content of a regular file; OSError where it cannot be read, ValueError where it has more than ``most`` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, most) + 1) if size <= most else b""  # what is asked for is set aside at once
        while size <= most and len(content) > size:  # it grows meanwhile, or is of those that tell no size
            size = len(content)
            content += file.read(min(max(size, _PIECE), most + 1 - size))
    if size > most or len(content) > most:
        raise ValueError(f"over {most} bytes, which no such file needs")
    return content


def parse_json(content: str | bytes, *, finite: bool = False) -> Any:
    """Parsed JSON (bytes: UTF-8); ValueError for anything else, and for what no file of ours holds.

    That is: lists and objects nested too deeply, a name that is twice in an object (readers would differ in which they
    take), a whole number of more than 20 digits; where ``finite``, NaN and Infinity, which :mod:`json` writes.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        constant = _no_constant if finite else float
        return json.loads(text, object_pairs_hook=_unique, parse_int=_whole_number, parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: str | Path, most: int = MOST_JSON) -> Any:
    """:func:`parse_json` of a regular file of at most ``most`` bytes; OSError and ValueError."""
    return parse_json(read_regular(path, most))


def parse_toml(text: str) -> dict[str, Any]:
    """Parsed TOML; ValueError for anything else, for deep nesting, long numbers, and over 200 dots on a line."""
    if len(text) > MOST_SETTINGS:
        raise ValueError(f"over {MOST_SETTINGS} characters, which no settings need")
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > _MOST_DOTS:  # a key of so many parts, of which a few would fill the memory
            raise ValueError(f"line {number}: over {_MOST_DOTS} dots; write it on several lines")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_toml(path: str | Path) -> dict[str, Any]:
    """:func:`parse_toml` of a regular UTF-8 file of at most 256 KiB; OSError and ValueError."""
    return parse_toml(read_regular(path, MOST_SETTINGS).decode("utf-8-sig"))


def twice(names: Iterable[str]) -> str | None:
    """The first name that is there for the second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # json would keep the last one silently
        raise ValueError(f"{(twice(name for name, _ in pairs) or '')[:80]!r} is there twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _whole_number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"{text[:_MOST_DIGITS]}… is too large a number")
    return int(text)
