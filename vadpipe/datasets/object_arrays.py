"""Arrays of Python lists that numpy saved as pickles (``gt_segment*.npy``, ``gt_label*.npy``), read without unpickling.

A pickle is a program, and running it runs what its author wants. So none is run here: ``pickletools`` only splits it
into instructions, and a small machine of our own obeys those that numpy writes for a one-dimensional array of lists of
text and whole numbers. It knows three names, those of numpy's array reconstruction, and these are marks on its stack,
never the functions themselves; every other name or instruction is an error that says which.
"""

from __future__ import annotations

import io
import pickletools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.datasets.npy import read_array_header
from vadpipe.errors import DataError, UsageError
from vadpipe.outside import open_regular

_MAX_BYTES = 16 << 20  # the largest real file has 53 kB
_MAX_VALUES = 1_000_000  # … and 3000 values
_MAX_DEPTH = 3  # videos, spans, start and end
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
_NAMES = {(module, "_reconstruct"): "_reconstruct" for module in _MODULES} | {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
}
_VALUES = {"BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES"}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True, slots=True)
class _Name:
    name: str


_MARK = _Name("mark")


@dataclass(eq=False, slots=True)
class _Array:
    items: list[Any] | None = None


@dataclass(eq=False, slots=True)
class _ObjectDtype:
    pass


def read_object_array(path: str | Path) -> list[Any]:
    """Items of a one-dimensional object array: text, whole numbers and lists of them.

    :class:`UsageError` if the file cannot be opened; :class:`DataError` if it is no such array, if it is damaged, or if
    it holds anything else, which is then named.
    """
    try:
        with open_regular(path) as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > _MAX_BYTES:
        raise DataError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; no array of annotations is")
    stream = io.BytesIO(raw)
    try:
        return _Machine(_read_header(stream)).run(stream)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def is_object_array(path: str | Path) -> bool:
    """Whether a ``.npy`` file says that it holds Python objects; :class:`DataError` if it is no ``.npy`` at all."""
    with open_regular(path) as file:
        try:
            return bool(read_array_header(file).dtype.hasobject)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _read_header(stream: io.BytesIO) -> int:
    shape, _, dtype = read_array_header(stream)
    if dtype != np.dtype(object) or len(shape) != 1:
        raise DataError(f"got {dtype} {shape}, expected an object array of one dimension")
    return shape[0]


@dataclass(slots=True)
class _Machine:
    """Stack and memo of the instructions; whatever is on the stack came out of the file or is a mark."""

    count: int
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self, stream: io.BytesIO) -> list[Any]:
        """Obey every instruction up to STOP and return the items of the array that is left on the stack."""
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                self._step(opcode.name, argument)
        except DataError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(f"damaged: {error!s:.200}") from error
        if len(self.stack) != 1 or not isinstance(self.stack[0], _Array) or self.stack[0].items is None:
            raise DataError("damaged: holds no array")
        items = self.stack[0].items
        _check(items)
        return items

    def _step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(name, argument)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "TUPLE" or name in _TUPLES:
            self.stack.append(tuple(self._above_mark() if name == "TUPLE" else self._pop(_TUPLES[name])))
        elif name in ("APPEND", "APPENDS"):
            self._append(self._pop(1) if name == "APPEND" else self._above_mark())
        elif name == "REDUCE":
            self._call(*self._pop(2))
        elif name == "BUILD":
            self._fill(*self._pop(2))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise DataError(f"refused: the instruction {name}; expected lists of text and whole numbers only")

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise DataError("damaged: the stack is empty")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _above_mark(self) -> list[Any]:
        taken = []
        while (value := self._pop(1)[0]) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _append(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise DataError("damaged: items for something that is no list")
        self.stack[-1].extend(values)

    def _name(self, opcode: str, argument: Any) -> None:
        wanted = tuple(argument.split(" ", 1) if opcode == "GLOBAL" else self._pop(2))
        if not all(isinstance(part, str) for part in wanted) or wanted not in _NAMES:
            # of anything but text only the type: a small file can hold lists whose text would fill the memory
            named = ".".join(part if isinstance(part, str) else type(part).__name__ for part in wanted)
            raise DataError(f"refused: the name {named!r:.200}; expected numpy's array reconstruction")
        self.stack.append(_Name(_NAMES[wanted]))

    def _call(self, function: Any, arguments: Any) -> None:
        """Rebuild an empty array or a dtype, as numpy's pickles ask for it."""
        if function == _Name("_reconstruct") and arguments == (_Name("ndarray"), (0,), b"b"):
            self.stack.append(_Array())
        elif function == _Name("dtype") and arguments[:1] in (("O8",), ("O4",), ("O",)):
            self.stack.append(_ObjectDtype())
        else:
            raise DataError("refused: a call; expected lists of text and whole numbers only")

    def _fill(self, target: Any, state: Any) -> None:
        """Give a rebuilt array its items; a dtype's state says nothing that is not known."""
        self.stack.append(target)
        if isinstance(target, _ObjectDtype):
            return
        _, shape, dtype, _, items = state
        if not isinstance(target, _Array) or not isinstance(dtype, _ObjectDtype) or type(items) is not list:
            raise DataError("refused: state for something that is no array of objects")
        if shape != (self.count,) or len(items) != self.count:
            raise DataError(f"damaged: {len(items)} items, expected {self.count} as in the header")
        target.items = items


def _check(items: list[Any]) -> None:
    """Refuse what is no text, whole number or list of them, deeper or more than annotations are.

    One list can stand in a file once and be meant a million times, in lists that are themselves meant a million times;
    so what counts is how often a value is met.
    """
    met = 0
    level = items
    for _ in range(_MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            met += len(value) if type(value) is list else 1
            if met > _MAX_VALUES:
                raise DataError(f"refused: more than {_MAX_VALUES} values")
            if type(value) is list:
                below += value
            elif type(value) not in (str, int):
                raise DataError(
                    f"refused: a value of type {type(value).__name__.strip('_')}; expected text and numbers"
                )
        level = below
    if level:
        raise DataError(f"refused: lists deeper than {_MAX_DEPTH}")
