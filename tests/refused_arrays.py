"""Arrays of Python objects, which numpy pickles. No test reads one with numpy: vadpipe has to refuse them, or to take
annotations out of them without running anything. ``allow_pickle`` is on here, where test files are written, and nowhere
else.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray


def save_pickled(file: Path | BinaryIO, array: NDArray[np.object_]) -> None:
    """Write an ``.npy`` file that only pickle could read whole."""
    np.save(file, array, allow_pickle=True)
