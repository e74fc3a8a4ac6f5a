"""The child that does a task on one video.

Run as ``python -P -m vadpipe.extractors.media_child CONTROL_FD MEMORY_FD LIFE_FD``.

The same as a decoder child (:mod:`vadpipe.extractors.decode_child`) in how it is started, limited and ended. Started
only by :mod:`vadpipe.extractors.media_task`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from vadpipe.extractors.decode_child import main
from vadpipe.extractors.decode_child_link import Link
from vadpipe.extractors.tasks import TASKS


def answer(link: Link, request: dict[str, Any]) -> None:
    """Do the task that is asked for; raises what went wrong."""
    task: Any = import_module(TASKS[request["task"]])
    task.run(link, request)
    link.send(t="done")


if __name__ == "__main__":
    main(sys.argv[1:4], answer, lambda request: TASKS[request["task"]])
