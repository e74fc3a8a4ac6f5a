"""What a shell is offered for arguments that name runs, published weights, exports and the like. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

_MOST_SHOWN = 120
Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class GivenPath(click.Path):
    """A path. One that is empty, or that the system refuses to look at, is said before anything is done with it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check, then as :class:`click.Path`."""
        text = os.fspath(value)
        if not text:
            self.fail("got an empty text, expected a path", param, ctx)
        try:
            os.lstat(text)
        except (FileNotFoundError, NotADirectoryError):
            pass  # it may be about to be made
        except (OSError, ValueError) as error:
            shown = text if len(text) < _MOST_SHOWN else f"{text[:_MOST_SHOWN]} …"
            self.fail(f"{shown}: {getattr(error, 'strerror', None) or error}", param, ctx)
        return super().convert(value, param, ctx)


class RunFolder(GivenPath):
    """A path; offered are the finished runs under ``runs/``, else folders."""

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002  # click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Folders with a ``config.json`` that begin as the word does."""
        wanted = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
        places = {*Path("runs").glob("*/config.json"), *Path("runs/grid").glob("*/*/config.json")}
        places |= set(wanted.glob("*/config.json"))
        found = sorted(str(path.parent) for path in places if str(path.parent).startswith(incomplete))
        return [CompletionItem(run) for run in found] or [CompletionItem(incomplete, type="dir")]


def one_of(names: Callable[[], Iterable[str]]) -> Offer:
    """Offers the names that begin as the word does."""

    def offer(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in sorted(names()) if name.startswith(incomplete)]

    return offer


def some_of(names: Callable[[], Iterable[str]]) -> Offer:
    """The same where names are joined by commas: for the last of them, without those that are there."""

    def offer(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        fitting = (name for name in sorted(names()) if name.startswith(last) and name not in given)
        return [CompletionItem(f"{before}{comma}{name}") for name in fitting]

    return offer


def export_names() -> Iterable[str]:
    """Forms that detections can be written in."""
    from vadpipe.pipeline.exports import EXPORTERS

    return EXPORTERS


def decoder_names() -> Iterable[str]:
    """Decoders."""
    from vadpipe.extractors.decoders import DECODERS

    return DECODERS


def stream_names() -> Iterable[str]:
    """Kinds of features."""
    from vadpipe.extractors import EXTRACTORS

    return EXTRACTORS


def weights_names() -> Iterable[str]:
    """Published weights."""
    from vadpipe.extractors.weights_table import KNOWN

    return KNOWN


def head_names() -> Iterable[str]:
    """Heads that can be trained."""
    from vadpipe.head_config import HEAD_CONFIGS

    return HEAD_CONFIGS


def dataset_names() -> Iterable[str]:
    """Data sets that are known by name."""
    from vadpipe.datasets import DATASETS

    return DATASETS
