"""Work on one given video other than reading it for features: small pictures, cut clips, a drawn overlay.

A task is one module here with a function ``run(link, request)``; it runs only in a child process
(:mod:`vadpipe.extractors.media_child`), because the file may be damaged or hostile. This file imports no decoder.
"""

from __future__ import annotations

from types import MappingProxyType

TASKS = MappingProxyType(
    {
        "pictures": "vadpipe.extractors.tasks.pictures",
        "cut": "vadpipe.extractors.tasks.cut",
        "overlay": "vadpipe.extractors.tasks.overlay",
    }
)
"""Name -> module."""
