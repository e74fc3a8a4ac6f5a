"""The user's own categories: a TOML file of names and prompts. It is untrusted. Imports no torch."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadpipe.errors import UsageError
from vadpipe.outside import parse_toml, read_regular
from vadpipe.tracks import NORMAL

MOST_BYTES = 256 * 1024
MOST_CATEGORIES = 100
MOST_PROMPTS = 50
LONGEST_NAME = 100
LONGEST_PROMPT = 400
"""Characters. CLIP reads 77 tokens at most; a prompt that is longer than that is refused when it is read as tokens."""

_KEYS = {"name", "prompts"}
_EXPECTED = 'expected [[category]] tables with a name and, if you like, prompts = ["…", …]'


@dataclass(frozen=True, slots=True)
class OwnCategory:
    """A category that the user names: its name in results, and texts that describe it, its name where none are given.

    :class:`UsageError` for a name or prompt that is empty, too long or not printable, for ``normal``, and for a prompt
    that is there twice.
    """

    name: str
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_text("name", self.name, LONGEST_NAME)
        if "|" in self.name:
            raise UsageError(f"name: got {self.name!r}, expected one without '|', which parts the labels of a video")
        if same_name(self.name) == NORMAL:
            raise UsageError(f"name: got {self.name!r}, which is reserved for footage without incidents")
        if len(self.prompts) > MOST_PROMPTS:
            raise UsageError(f"prompts of {self.name!r}: got {len(self.prompts)}, expected at most {MOST_PROMPTS}")
        for prompt in self.prompts:
            _check_text(f"prompt of {self.name!r}", prompt, LONGEST_PROMPT)
        if len(set(self.prompts)) != len(self.prompts):
            raise UsageError(f"prompts of {self.name!r}: one is there twice")

    @property
    def texts(self) -> tuple[str, ...]:
        """The prompts, or the name with blanks for underscores, as for trained categories."""
        return self.prompts or (self.name.replace("_", " "),)


def same_name(name: str) -> str:
    """What two spellings of one name have in common: case, underscores and forms of Unicode do not count."""
    return unicodedata.normalize("NFKC", name).casefold().replace("_", " ").strip()


def check_categories(categories: Sequence[OwnCategory]) -> None:
    """Raise :class:`UsageError` for none, too many, or two names that differ only in spelling."""
    if not 1 <= len(categories) <= MOST_CATEGORIES:
        raise UsageError(f"got {len(categories)} categories, expected 1 … {MOST_CATEGORIES}")
    seen: dict[str, str] = {}
    for category in categories:
        other = seen.setdefault(same_name(category.name), category.name)
        if other is not category.name:
            raise UsageError(
                f"categories {other!r} and {category.name!r} are one name; put their prompts into one list"
            )


def load_categories(path: Path) -> tuple[OwnCategory, ...]:
    """Read and check ``[[category]]`` tables, in the file's order; docs/categories.md describes them.

    :class:`UsageError` says what is wrong, and in which category.
    """
    try:
        tables = parse_toml(_text(path))
    except ValueError as error:
        raise UsageError(f"categories file {path}: not TOML in UTF-8: {error}") from error
    try:
        if unknown := sorted(set(tables) - {"category"}):
            raise UsageError(f"unknown {_told(unknown)}; {_EXPECTED}")
        found = tables.get("category", [])
        if not isinstance(found, list):
            raise UsageError(f"got one [category], {_EXPECTED}: mind the double brackets")
        if len(found) > MOST_CATEGORIES:
            raise UsageError(f"got {len(found)} categories, expected 1 … {MOST_CATEGORIES}")
        categories = tuple(_category(table, number) for number, table in enumerate(found, 1))
        check_categories(categories)
    except UsageError as error:
        raise UsageError(f"categories file {path}: {error}") from None
    return categories


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise UsageError(f"categories file {path} does not exist, or is no file")
        return read_regular(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise  # the caller says it
    except (OSError, ValueError) as error:
        raise UsageError(f"categories file {path} cannot be read: {error}") from error


def _category(table: Any, number: int) -> OwnCategory:
    if not isinstance(table, dict):
        raise UsageError(f"category {number}: got {table!r:.80}, {_EXPECTED}")
    if unknown := sorted(set(table) - _KEYS):
        raise UsageError(f"category {number}: unknown {_told(unknown)}; known: name, prompts")
    name, prompts = table.get("name"), table.get("prompts", [])
    if not isinstance(name, str):
        raise UsageError(f"category {number}: name: got {name!r:.80}, expected a text")
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise UsageError(f"category {number}, {name!r:.80}: prompts: got {prompts!r:.80}, expected a list of texts")
    try:
        return OwnCategory(name.strip(), tuple(prompt.strip() for prompt in prompts))
    except UsageError as error:
        raise UsageError(f"category {number}: {error}") from None


def _check_text(what: str, text: str, longest: int) -> None:
    if not text or text != text.strip():
        raise UsageError(f"{what}: got {text!r:.80}, expected a text that is not empty, without blanks around it")
    if len(text) > longest:
        raise UsageError(f"{what}: {len(text)} characters, expected at most {longest}: {text[:40]!r} …")
    if not text.isprintable():
        raise UsageError(f"{what}: got {text!r:.80}, expected no line ends, control or invisible characters")


def _told(names: Sequence[str]) -> str:
    return ", ".join(f"{name!r:.40}" for name in names[:5])
