"""What holds for the whole tree: no unsafe calls, no rooms too large, a lock that fits, a Dockerfile that lints."""

from __future__ import annotations

import ast
import re
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "vadpipe").rglob("*.py"))
RUNS_CODE = {"dill", "cloudpickle", "joblib", "shelve", "marshal"}


def unsafe(source: str) -> Iterator[str]:
    """Names of what could run code out of a data file or a shell, as written in ``source``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name.partition(".")[0] in RUNS_CODE)
            case ast.ImportFrom(module=str(name)) if name.partition(".")[0] in RUNS_CODE:
                yield name
            case ast.ImportFrom(module="pickle") | ast.alias(name="pickle", asname=str()):
                yield "pickle under another name"
            case ast.Attribute(value=ast.Name(id="pickle"), attr=name) if name != "UnpicklingError":
                yield f"pickle.{name}"  # the exception is also what torch.load raises
            case ast.ImportFrom(module="torch", names=names) if any(alias.name == "load" for alias in names):
                yield "from torch import load"
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen" as name)):
                yield f"os.{name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
                if not any(k.arg == "weights_only" and is_constant(k.value, True) for k in keywords):
                    yield "torch.load without weights_only=True"
            case ast.keyword(arg="shell" | "allow_pickle" as name, value=value) if not is_constant(value, False):
                yield name


def is_constant(node: ast.expr, value: object) -> bool:
    """Whether an expression is literally ``value``."""
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_safe_and_of_readable_size(path: Path) -> None:
    source = path.read_text()
    assert list(unsafe(source)) == []
    assert source.count("\n") <= 300
    assert path.name != "utils.py"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(path)", ["torch.load without weights_only=True"]),
        ("torch.load(path, weights_only=False)", ["torch.load without weights_only=True"]),
        ("torch.load(path, map_location='cpu', weights_only=True)", []),
        ("from torch import load", ["from torch import load"]),
        ("def f():\n    import dill", ["dill"]),
        ("import pickle\npickle.load(file)", ["pickle.load"]),
        ("from pickle import loads", ["pickle under another name"]),
        ("import pickle as p", ["pickle under another name"]),
        ("import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass", []),
        ("from joblib.memory import load", ["joblib.memory"]),
        ("np.load(path, allow_pickle=True)", ["allow_pickle"]),
        ("np.load(path, allow_pickle=False)", []),
        ("subprocess.run(command, shell=True)", ["shell"]),
        ("os.system(command)", ["os.system"]),
        ("eval(text); exec(text)", ["eval", "exec"]),
        ("model.eval(); safetensors.torch.load(data)", []),
    ],
)
def test_unsafe_finds_what_it_should(source: str, found: list[str]) -> None:
    assert list(unsafe(source)) == found


def locked() -> dict[str, str]:
    """Package name -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return dict(pins)


def test_constraints_are_exact_sorted_and_nothing_else() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert lines == sorted(set(lines))
    assert len(locked()) == len(lines)


def test_constraints_hold_every_requirement_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in [*listed, project["build-system"]["requires"]] for text in group]
    pins = locked()
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name != "vadpipe":
            assert requirement.specifier.contains(pins[name]), f"{requirement} but {name}=={pins[name]}"
    assert len(requirements) > 20


def test_the_torch_family_is_one_release() -> None:
    pins = locked()
    family = {name: pins[name] for name in ("torch", "torchaudio", "torchvision")}
    assert family == {"torch": "2.11.0", "torchaudio": "2.11.0", "torchvision": "0.26.0"}


def test_dockerfile_lints() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_ci_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().rstrip().endswith("exec make test")
