"""One line of ``vadpipe doctor``."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, WARNING, BROKEN = "ok", "note", "warning", "broken"
"""As it should be; worth knowing; something that may be wanted does not work; what every user needs does not."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is (one of the four states), what was found, and the command that mends it.

    fix
        Empty where there is nothing to do.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def first_line(error: BaseException | str) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
