"""Text on pictures with Pillow: fonts that are at hand, characters that none of them has, lines of limited width."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WIDER_FONTS = ("NotoSansCJK-Regular.ttc", "DroidSansFallbackFull.ttf", "wqy-microhei.ttc", "Arial Unicode.ttf")
"""Fonts of the system that have most scripts; Pillow looks for them where the system keeps its fonts."""

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_ELLIPSIS = "…"
_LONGEST = 500
_NO_GLYPH = "\uffff"


def readable(text: str, size: int) -> tuple[str, Font]:
    """A text with what cannot be shown replaced, and the font that has most of it.

    Control characters are left out; a character that the font lacks becomes its code, e.g. U+6253.
    """
    shown = unicodedata.normalize("NFC", text[:_LONGEST])
    shown = "".join(character for character in shown if unicodedata.category(character) not in _UNSEEN)
    fonts = _fonts(size)
    font = min(fonts, key=lambda one: sum(not _has(one, character) for character in shown))
    parts = (character if _has(font, character) else f"U+{ord(character):04X}" for character in shown)
    return "".join(parts), font


def lines(text: str, font: Font, width: int, most: int) -> list[str]:
    """A text broken between words, else between characters, into at most ``most`` lines of ``width`` pixels."""
    broken: list[str] = []
    rest = text.strip()
    while rest and len(broken) < most:
        count = len(rest)
        while count > 1 and font.getlength(rest[:count].rstrip()) > width:
            count -= 1
        if count < len(rest) and not rest[count - 1].isspace() and not rest[count].isspace() and " " in rest[:count]:
            count = rest[:count].rindex(" ") + 1  # not within a word
        broken.append(rest[:count].rstrip())
        rest = rest[count:].lstrip()
    if rest and broken:
        last = broken[-1]
        while last and font.getlength(last + _ELLIPSIS) > width:
            last = last[:-1]
        broken[-1] = last + _ELLIPSIS
    return broken


def written(rows: list[str], font: Font, size: int) -> NDArray[np.uint8]:
    """(h, w) coverage, 0 … 255, of lines of text."""
    width = max(int(font.getlength(row)) + 2 for row in rows)
    step = line_height(size)
    image = Image.new("L", (max(width, 1), step * len(rows)))
    draw = ImageDraw.Draw(image)
    for number, row in enumerate(rows):
        draw.text((1, number * step), row, fill=255, font=font)
    return np.asarray(image)


def line_height(size: int) -> int:
    """Pixels from line to line."""
    return round(size * 1.25)


@cache
def font_files() -> list[Path]:
    """The fonts that there are, the first for most texts; searched for once, before other files are given up."""
    found: list[Path] = []
    for name in (_with_matplotlib(), *_WIDER_FONTS):
        try:
            found.append(Path(str(ImageFont.truetype(name, 10).path)).absolute())
        except OSError:
            continue
    return found


@lru_cache(maxsize=16)
def _fonts(size: int) -> list[Font]:
    found: list[Font] = []
    for path in font_files():
        try:
            found.append(ImageFont.truetype(str(path), size))
        except OSError:
            continue
    return found or [ImageFont.load_default(size)]


@cache
def _with_matplotlib() -> str:
    """DejaVu Sans, which Matplotlib brings along: Latin, Greek, Cyrillic, Arabic, Hebrew and more."""
    spec = find_spec("matplotlib")
    folder = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    return str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@lru_cache(maxsize=4096)
def _has(font: Font, character: str) -> bool:
    """Whether a font can draw a character; what it lacks looks as a character that is none."""
    if character.isspace():
        return True
    if unicodedata.category(character) in ("Co", "Cn"):  # private use, not assigned: says something else in every font
        return False
    mine, none = font.getmask(character), font.getmask(_NO_GLYPH)
    return mine.size != none.size or bytes(mine) != bytes(none)
