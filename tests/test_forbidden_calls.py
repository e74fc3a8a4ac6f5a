"""Calls that could run code out of a file, a name or a shell, or that trust what came from elsewhere: there are none.

The whole tree is looked at. Names are followed through imports (``from torch import load as l``), assignments
(``read = np.load``) and ``getattr`` with a constant; the snippets at the end show what is caught.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("vadpipe", "tools", "benchmarks", "docs", "tests")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

RUN_CODE = (
    *("pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "pty"),
    *("xml.etree", "xml.dom", "xml.sax.parse", "xml.sax.make_parser", "lxml"),
)
"""Modules and functions of which nothing is used, but for ``ONLY_NAMED``."""
ONLY_NAMED = {"pickle.UnpicklingError", "pickle.PicklingError"}  # the first is also what torch.load raises
FORBIDDEN = {
    *("os.system", "os.popen", "os.posix_spawn", "os.posix_spawnp", "commands.getoutput"),
    *(f"os.exec{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *(f"os.spawn{how}" for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
    *("runpy.run_path", "runpy.run_module", "importlib.util.spec_from_file_location", "torch.ops.load_library"),
    *("importlib.machinery.SourceFileLoader", "importlib.machinery.ExtensionFileLoader"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell"),
    *("eval", "exec", "compile", "execfile", "builtins.eval", "builtins.exec", "builtins.compile"),
    *("tempfile.mktemp", "os.tempnam", "hashlib.md5", "hashlib.sha1", "hashlib.new", "ssl._create_unverified_context"),
    *("torch.package.PackageImporter", "torch.hub.load", "pandas.read_pickle", "numpy.fromregex"),
    *("urllib.request.urlretrieve", "imp.load_source", "code.interact"),
}
TIMED = {"urllib.request.urlopen", *(f"requests.{verb}" for verb in ("get", "post", "put", "head", "request"))}
STARTS = {f"subprocess.{name}" for name in ("run", "Popen", "call", "check_call", "check_output")}
LOADERS = {"torch.load", "torch.serialization.load", "torch.jit.load", "numpy.load", "numpy.lib.format.read_array"}
LOADERS |= {"numpy.lib.npyio.NpzFile", "urllib.request.urlopen"}
"""What is safe or not by its options: only called by name, with options that can be seen, never passed on."""
PARSERS = {"json.load", "json.loads", "json.JSONDecoder", "json.decoder.JSONDecoder", "tomllib.load", "tomllib.loads"}
"""In vadpipe itself only where ``OWN_READERS`` says: what comes from elsewhere is read under limits."""
PARSERS |= {"zipfile.ZipFile", "tarfile.open", "tarfile.TarFile", "gzip.open", "yaml.load", "yaml.safe_load", *LOADERS}
PARSERS |= {"safetensors.safe_open", "safetensors.torch.load_file", "safetensors.numpy.load_file", "h5py.File"}
PARSERS |= {f"numpy.{name}" for name in ("fromfile", "loadtxt", "genfromtxt", "memmap")}
OWN_READERS = {
    "vadpipe/outside.py": {"json.loads", "tomllib.loads"},
    "vadpipe/manifest.py": {"gzip.open"},
    "vadpipe/datasets/npy.py": {"numpy.load"},
    "vadpipe/extractors/state_file.py": {"torch.load", "zipfile.ZipFile", "safetensors.torch.load_file"},
    "vadpipe/track_file.py": {"h5py.File"},  # looks first whether it is a regular file; the other is for writing
    "vadpipe/pipeline/training/state.py": {"safetensors.safe_open"},  # the same; written by this program
    "vadpipe/pipeline/diagnosing/child.py": {"h5py.File", "json.loads"},  # tries a file that it wrote a line before
    "vadpipe/extractors/weights.py": {"torch.jit.load"},  # of files whose published sha256 is known
    # what a process of ours sent, or was made in this one
    "vadpipe/extractors/decode_link.py": {"json.loads"},
    "vadpipe/models/checkpoint.py": {"json.loads"},
    "vadpipe/pipeline/detecting/kept.py": {"json.loads"},
    "vadpipe/pipeline/training/ranks.py": {"json.loads"},
}
PLAIN_READS = {
    # what this program or this installation wrote, or the system
    "vadpipe/extractors/compute.py",  # /proc/cpuinfo
    "vadpipe/extractors/decoders/decord.py",  # in the child, of the one video
    "vadpipe/extractors/decoders/torchcodec_index.py",
    "vadpipe/extractors/decode_child.py",
    "vadpipe/extractors/media_task.py",  # temporary files of its own, which it made anew
    "vadpipe/extractors/media_write.py",
    "vadpipe/pipeline/on_ray/folder.py",  # /proc, and a lock in a folder of its own
    "vadpipe/pipeline/pages/page.py",  # assets of the package
    "vadpipe/whole_file.py",  # /proc
    # regular files, by a look at them before
    "vadpipe/extractors/state_file.py",
    "vadpipe/pipeline/data_check.py",
    "vadpipe/pipeline/pages/media.py",
    "vadpipe/pipeline/storing/index.py",
    "vadpipe/pipeline/storing/pack.py",
    "vadpipe/pipeline/storing/shard.py",
    "vadpipe/store.py",
}
"""Modules of vadpipe that open files for reading other than by ``vadpipe/outside.py``."""
_XML = {"xml.etree.ElementTree", "xml.etree.ElementTree.fromstring", "xml.etree.ElementTree.parse"}
ALLOWED = {
    # its options are written out a few lines above the call, and the command is a list
    "vadpipe/extractors/decode_process.py": {"subprocess.Popen with options that cannot be seen"},
    # tests write what must be refused, and show that it would have run; the reader of annotations in pickles,
    # vadpipe/datasets/object_arrays.py, needs nothing of this: it takes them apart (pickletools) and runs nothing
    "tests/refused_arrays.py": {"allow_pickle"},
    "tests/hostile_files.py": {
        *("pickle.dumps", "pickle.loads", "allow_pickle", "torch.load without weights_only=True"),
        "numpy.lib.npyio.NpzFile passed on",  # to isinstance
    },
    "tests/datasets/test_object_arrays.py": {"os.system", "pickle.dumps", "numpy.load passed on"},
    "tests/hostile_nursery.py": {"subprocess.Popen passed on"},  # a class of it
    "tests/soak_cases.py": {"os.spawnlp"},  # a child that stays, to see that it is found
    # scripts of this repository, which are no modules
    "tests/scripts.py": {"importlib.util.spec_from_file_location"},
    "tests/test_archive_costs.py": {"importlib.util.spec_from_file_location"},
    "tests/test_docs.py": {"importlib.util.spec_from_file_location"},
    "tests/extractors/test_state_file.py": {"pickle.dumps"},
    "tests/extractors/test_weights.py": {"pickle.dumps"},
    "tests/test_api.py": {"compile", "exec"},  # the code of docs/python.md
    # reads what this package wrote a line before
    "tests/pipeline/exports/test_labelstudio.py": _XML,
    "tests/pipeline/test_figures.py": _XML,
    "tests/pipeline/test_report.py": _XML,
}


def calls(source: str) -> Iterator[tuple[str, ast.Call | ast.AST]]:
    """(full name, node) of everything that is named in ``source``, aliases resolved."""
    tree = ast.parse(source)
    known = dict(_aliases(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _name(node.func, known)):
            yield name, node
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            if name := _name(node, known):
                yield name, node
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    known: dict[str, str] = {"np": "numpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname
                      else alias.name.partition(".")[0] for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for _ in range(2):  # a name of a name
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                if not isinstance(node.value, ast.Name | ast.Attribute | ast.Call):
                    continue
                name = _name(node.value, known) if not _is_plain_call(node.value) else None
                if name and name != node.targets[0].id:
                    known[node.targets[0].id] = name
    yield from known.items()


def _is_plain_call(node: ast.expr) -> bool:
    is_getter = isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    name = "" if not is_getter else getattr(node.func, "id", getattr(node.func, "attr", ""))  # type: ignore[attr-defined]
    return isinstance(node, ast.Call) and name not in ("getattr", "__import__", "import_module")


def _name(node: ast.expr, known: dict[str, str]) -> str | None:
    match node:
        case ast.Name(id=name):
            return known.get(name, name)
        case ast.Attribute(value=value, attr=attr):
            front = _name(value, known)
            return f"{front}.{attr}" if front else None
        case ast.Call(func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(attr)), *_]):
            front = _name(value, known)
            return f"{front}.{attr}" if front else None
        case ast.Call(
            func=ast.Name(id="__import__") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ):
            return name
    return None


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def forbidden(source: str) -> set[str]:
    """What ``source`` uses and must not, by name."""
    found: set[str] = set()
    for name, node in calls(source):
        name = _full(name)
        if name in FORBIDDEN or (name.removeprefix("builtins.") in ("eval", "exec") and isinstance(node, ast.Call)):
            is_module_name = name in ("compile", "eval", "exec") and not isinstance(node, ast.Call)
            found |= set() if is_module_name else {name}
        if name not in ONLY_NAMED and any(name == code or name.startswith(f"{code}.") for code in RUN_CODE):
            bare = isinstance(node, ast.Import) or (not isinstance(node, ast.Call) and name in RUN_CODE)
            # named for its exception, which has no other home
            if not (bare and name == "pickle" and "pickle" not in passed_on(source)):
                found.add(name)
        if isinstance(node, ast.Call):
            found |= _of_call(name, node)
    return found | {f"{name} passed on" for name in passed_on(source) if name in LOADERS | STARTS}


def passed_on(source: str) -> set[str]:
    """What is named without being called: an argument, a value of a table, a default, an attribute.

    A plain name for it (``read = torch.load``) is followed, so its calls are looked at, and an annotation is no use.
    """
    tree = ast.parse(source)
    known = dict(_aliases(tree))
    seen = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    members = {id(part) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            seen.add(id(node.value))
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            seen |= set() if id(node) in members else {id(node.value)}
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            seen |= {id(part) for part in ast.walk(note)} if isinstance(note, ast.AST) else set()
    names = (
        _name(node, known)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in seen
    )
    return {_full(name) for name in names if name}


def _full(name: str) -> str:
    return "numpy" + name[2:] if name.startswith("np.") else name


def _of_call(name: str, node: ast.Call) -> set[str]:
    options = {keyword.arg: keyword.value for keyword in node.keywords}
    found: set[str] = set()
    is_safe = _is(options.get("weights_only", ast.Constant(None)), True)
    if name in ("torch.load", "torch.serialization.load") and not is_safe:
        found.add("torch.load without weights_only=True")
    if (name in ("numpy.load", "numpy.lib.npyio.NpzFile") and len(node.args) > 2) or (
        name == "numpy.lib.format.read_array" and len(node.args) > 1
    ):
        found.add("allow_pickle")  # by its place
    if "allow_pickle" in options and not _is(options["allow_pickle"], False):
        found.add("allow_pickle")
    if "shell" in options and not _is(options["shell"], False):
        found.add("shell")
    if "verify" in options and _is(options["verify"], False):
        found.add("verify=False")
    if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
        loader = options.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
        if not (isinstance(loader, ast.Attribute | ast.Name) and "SafeLoader" in ast.unparse(loader)):
            found.add(f"{name} without SafeLoader")
    if name in TIMED and "timeout" not in options:
        found.add(f"{name} without timeout")
    if name in STARTS and node.args and _is_text(node.args[0]):
        found.add(f"{name} of a string")
    if None in options and name in {*STARTS, "torch.load", "numpy.load"}:
        found.add(f"{name} with options that cannot be seen")
    return found


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def parsers(source: str) -> set[str]:
    """Which parsers of files ``source`` calls by themselves."""
    called = {_full(name) for name, node in calls(source) if isinstance(node, ast.Call)}
    return (called | passed_on(source)) & PARSERS


def plain_reads(source: str) -> set[str]:
    """How ``source`` reads files past ``vadpipe.outside``: ``open`` but for writing, and what stands for it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="read_text" | "read_bytes" as name)):
                found.add(name)
            case ast.Call(func=ast.Name(id="open"), args=[_, *modes], keywords=options):
                found |= {"open"} if _is_for_reading(modes, options) else set()
            case ast.Call(func=ast.Attribute(value=value, attr="open"), args=modes, keywords=options):
                is_library = isinstance(value, ast.Name) and value.id in ("av", "gzip", "os")  # looked at elsewhere
                is_opener = bool(modes) and not isinstance(modes[0], ast.Constant)  # open(what), no mode
                if not is_library and not is_opener and _is_for_reading(modes, options):
                    found.add("open")
    return found


def _is_for_reading(modes: list[ast.expr], options: list[ast.keyword]) -> bool:
    mode = modes[0] if modes else next((option.value for option in options if option.arg == "mode"), ast.Constant("r"))
    return not (isinstance(mode, ast.Constant) and isinstance(mode.value, str) and mode.value[:1] in ("w", "x", "a"))


def checks_by_assert(source: str) -> Iterator[int]:
    """Lines with an ``assert`` that is not just ``x is not None``, which only tells the type checker."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert):
            match node.test:
                case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
                    continue
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_could_run_code_is_called(path: Path) -> None:
    place, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    assert forbidden(source) - ALLOWED.get(place, set()) == set()
    if place.startswith("vadpipe/"):
        assert parsers(source) <= OWN_READERS.get(place, set()), "read what comes from elsewhere by vadpipe.outside"
        assert place in PLAIN_READS or plain_reads(source) == set(), "open what comes from elsewhere by vadpipe.outside"
        assert list(checks_by_assert(source)) == [], "python -O leaves checks by assert out"


def test_the_lists_of_exceptions_hold_nothing_that_is_not_needed() -> None:
    for place, names in OWN_READERS.items():
        assert parsers((ROOT / place).read_text(encoding="utf-8")) == names, place
    for place in (*ALLOWED, *PLAIN_READS):
        assert (ROOT / place).is_file()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.load(p)", "torch.load without weights_only=True"),
        ("from torch import load as l\nl(p)", "torch.load without weights_only=True"),
        ("import torch as t\nt.load(p, weights_only=False)", "torch.load without weights_only=True"),
        ("import torch\nread = torch.load\nread(p)", "torch.load without weights_only=True"),
        ("import torch\na = torch.load\nb = a\nb(p)", "torch.load without weights_only=True"),
        ("import torch\ngetattr(torch, 'load')(p)", "torch.load without weights_only=True"),
        ("import torch\ntorch.load(p, **options)", "torch.load without weights_only=True"),
        ("import numpy as n\nn.load(p, allow_pickle=True)", "allow_pickle"),
        ("from numpy import load\nload(p, allow_pickle=flag)", "allow_pickle"),
        ("import numpy\nnumpy.load(p, **options)", "numpy.load with options that cannot be seen"),
        ("import subprocess as s\ns.run(c, shell=True)", "shell"),
        ("import subprocess\nsubprocess.run(f'ls {x}')", "subprocess.run of a string"),
        ("from subprocess import Popen as P\nP('ls')", "subprocess.Popen of a string"),
        ("import os\nos.system(c)", "os.system"),
        ("from os import popen\npopen(c)", "os.popen"),
        ("import os as o\ngetattr(o, 'system')(c)", "os.system"),
        ("__import__('os').system(c)", "os.system"),
        ("import importlib\nimportlib.import_module('pickle').loads(c)", "pickle.loads"),
        ("eval(text)", "eval"),
        ("exec(text)", "exec"),
        ("compile(text, '', 'exec')", "compile"),
        ("import builtins\nbuiltins.eval(text)", "builtins.eval"),
        ("e = eval\ne(text)", "eval"),
        ("import pickle\npickle.load(f)", "pickle.load"),
        ("import pickle as p\np.loads(f)", "pickle.loads"),
        ("from pickle import Unpickler as U\nU(f).load()", "pickle.Unpickler"),
        ("def f():\n    import dill", "dill"),
        ("import joblib", "joblib"),
        ("from joblib.memory import x", "joblib.memory.x"),
        ("import marshal\nmarshal.loads(b)", "marshal.loads"),
        ("import shelve", "shelve"),
        ("import yaml\nyaml.load(t)", "yaml.load without SafeLoader"),
        ("import yaml\nyaml.load(t, Loader=yaml.Loader)", "yaml.load without SafeLoader"),
        ("import tempfile\ntempfile.mktemp()", "tempfile.mktemp"),
        ("from hashlib import md5\nmd5(b)", "hashlib.md5"),
        ("import xml.etree.ElementTree as ET\nET.parse(p)", "xml.etree.ElementTree.parse"),
        ("from urllib.request import urlopen\nurlopen(u)", "urllib.request.urlopen without timeout"),
        ("import requests\nrequests.get(u, verify=False, timeout=3)", "verify=False"),
        ("import requests\nrequests.get(u)", "requests.get without timeout"),
        ("import pandas as pd\npd.read_pickle(p)", "pandas.read_pickle"),
        ("import torch\nstates = [*map(torch.load, paths)]", "torch.load passed on"),
        (
            "from functools import partial\nimport torch\npartial(torch.load, weights_only=False)",
            "torch.load passed on",
        ),
        ("import torch\nREADERS = {'.pt': torch.load}\nREADERS[s](p)", "torch.load passed on"),
        ("import torch\ndef f(p, load=torch.load):\n    return load(p)", "torch.load passed on"),
        ("import torch\nself.load = torch.load", "torch.load passed on"),
        ("import torch\nclass A:\n    load = torch.load\nA.load(p)", "torch.load passed on"),
        ("import torch\nload: object = torch.load\nload(p)", "torch.load passed on"),
        ("import torch\ntorch.serialization.load(p)", "torch.load without weights_only=True"),
        ("from torch.serialization import load\nload(p)", "torch.load without weights_only=True"),
        ("import numpy as np\nnp.load(p, None, True)", "allow_pickle"),
        ("import numpy as np\nnp.lib.format.read_array(f, True)", "allow_pickle"),
        ("import pickle\nREAD = (pickle.loads,)", "pickle.loads"),
        ("import pickle\nREAD = (pickle,)\nREAD[0].loads(b)", "pickle"),
        ("import pickle\ngetattr(pickle, name)(b)", "pickle"),
        ("from urllib.request import urlopen\n[*map(urlopen, urls)]", "urllib.request.urlopen passed on"),
        ("from functools import partial\nimport subprocess\npartial(subprocess.run, shell=True)('ls')", "shell"),
        ("import subprocess\nstart(subprocess.run)", "subprocess.run passed on"),
        ("import runpy\nrunpy.run_path(p)", "runpy.run_path"),
        ("import importlib.util as u\nu.spec_from_file_location('x', p)", "importlib.util.spec_from_file_location"),
        ("import os\nos.execve(p, a, e)", "os.execve"),
        ("import os\nos.spawnlp(0, 'sh', 'sh')", "os.spawnlp"),
        ("import os\nos.posix_spawn('/bin/sh', [], {})", "os.posix_spawn"),
    ],
)
def test_what_must_be_caught_is_caught(source: str, found: str) -> None:
    assert found in forbidden(source)


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(p, map_location='cpu', weights_only=True)",
        "import numpy as np\nnp.load(p, mmap_mode='r', allow_pickle=False)",
        "import pickle\ntry:\n    f()\nexcept pickle.UnpicklingError:\n    pass",
        "import subprocess\nsubprocess.run([a, b], check=False)",
        "import re\nre.compile('x')\nmodel.eval()\nload(data)",
        "import yaml\nyaml.load(t, Loader=yaml.SafeLoader)",
        "from urllib.request import urlopen\nurlopen(u, timeout=3)",
        "import pickletools\npickletools.genops(f)",
    ],
)
def test_what_is_harmless_passes(source: str) -> None:
    assert forbidden(source) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import json\njson.loads(t)", {"json.loads"}),
        ("from json import loads as l\nl(t)", {"json.loads"}),
        ("import tomllib\nwith f as g:\n    tomllib.load(g)", {"tomllib.load"}),
        ("import numpy as n\nn.load(p)", {"numpy.load"}),
        ("import json\njson.dumps(t)\njson.JSONDecodeError", set()),
        ("import json\nrows = [*map(json.loads, lines)]", {"json.loads"}),
        ("from functools import partial\nimport json\npartial(json.loads, parse_int=f)", {"json.loads"}),
        ("import json\nREAD = {'json': json.load}", {"json.load"}),
        ("import json\njson.JSONDecoder().decode(t)", {"json.JSONDecoder"}),
        ("from safetensors.torch import load_file\nload_file(p)", {"safetensors.torch.load_file"}),
        ("from safetensors import safe_open\nwith safe_open(p) as f:\n    pass", {"safetensors.safe_open"}),
        ("import h5py\nh5py.File(p)", {"h5py.File"}),
        ("import h5py\ndef f(file: h5py.File) -> h5py.File: ...", set()),
        ("import numpy as np\nnp.fromfile(p)\nnp.loadtxt(p)", {"numpy.fromfile", "numpy.loadtxt"}),
    ],
)
def test_parsers_are_found(source: str, found: set[str]) -> None:
    assert parsers(source) == found


def test_plain_reads_are_found() -> None:
    for source in ("path.read_text()", "p.read_bytes()", "open(p)", "open(p, 'rb')", "Path(p).open()", "p.open('r+')",
                   "p.open(mode='rb')", "open(p, mode)"):  # fmt: skip
        assert plain_reads(source), source
    for source in ("p.open('wb')", "open(p, 'x')", "p.open(mode='a')", "read_text(p)", "builder.open(url)"):
        assert not plain_reads(source), source


def test_checks_by_assert_are_found() -> None:
    assert list(checks_by_assert("assert x is not None\nassert x > 0\nassert path.is_file(), 'gone'")) == [2, 3]
