"""docs/clusters.md: its job files are read as a scheduler would, its commands as a shell and click would."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.test_cli_help import parse
from vadpipe.errors import UsageError
from vadpipe.pipeline.shard import choose_shard

PAGE = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text()
FILLED = {"$SLURM_ARRAY_TASK_ID": "5", "$SLURM_CPUS_PER_TASK": "4", "$TMPDIR": "/scratch", "{}": "3"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.M | re.S)


def commands() -> Iterator[str]:
    """Every command of vadpipe in the code of the page, whatever it is wrapped in, with variables filled in."""
    for line in "\n".join(blocks("bash")).splitlines() + re.findall(r"^    (vadpipe .*)", PAGE, re.M):
        if not line.startswith("#") and "vadpipe " in line:
            command = line[line.index("vadpipe ") :].rstrip(" &").rstrip("'")
            for name, value in FILLED.items():
                command = command.replace(name, value)
            yield command


def job() -> Any:
    return next(made for text in blocks("yaml") if (made := yaml.safe_load(text))["kind"] == "Job")


def array(script: str) -> tuple[int, int] | None:
    """First and last number of ``#SBATCH --array=A-B``."""
    found = re.search(r"^#SBATCH --array=(\d+)-(\d+)", script, re.M)
    return (int(found[1]), int(found[2])) if found else None


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_can_be_given(line: str) -> None:
    command, context = parse(line)
    assert command is not None
    shard = context.params.get("shard")
    if shard is not None and not shard.startswith("auto"):
        assert choose_shard(shard, [], {}, lambda _: None) is not None


def test_the_page_has_commands_of_every_kind() -> None:
    lines = list(commands())
    assert len(lines) >= 10
    for part in ("auto/64", "--shard 5/64", "--shard 3/64", "store pack", "store unpack", "store gc"):
        assert any(part in line for line in lines), part


def test_the_array_has_as_many_tasks_as_its_command_says() -> None:
    scripts = [text for text in blocks("bash") if "#SBATCH" in text]
    assert all(text.startswith("#!/bin/bash\n#SBATCH") for text in scripts)
    script = next(text for text in scripts if "auto/" in text)
    bounds = array(script)
    assert bounds is not None
    first, last = bounds
    text = re.search(r"--shard (auto/\d+)", script)
    assert text is not None
    names = {"COUNT": last - first + 1, "MIN": first, "MAX": last, "STEP": 1}
    told = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
    shards = [
        choose_shard(text[1], [], {**told, "SLURM_ARRAY_TASK_ID": str(number)}, lambda _: None)
        for number in range(first, last + 1)
    ]
    assert [shard.index for shard in shards if shard] == list(range(last - first + 1))


def test_the_job_of_kubernetes_has_as_many_pods_as_its_command_says() -> None:
    spec = job()["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    line = shlex.join(container["command"])
    _, context = parse(line)
    assert all(isinstance(word, str) for word in container["command"])
    assert spec["completionMode"] == "Indexed"
    for index in range(spec["completions"]):
        environ = {"JOB_COMPLETION_INDEX": str(index)}
        shard = choose_shard(context.params["shard"], [], environ, lambda _: None)
        assert shard is not None
        assert (shard.index, shard.count) == (index, spec["completions"])
    with pytest.raises(UsageError):
        choose_shard(context.params["shard"], [], {"JOB_COMPLETION_INDEX": str(spec["completions"])}, lambda _: None)
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # retries by index ask for it
    rules = spec["podFailurePolicy"]["rules"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules} == {container["name"]}


def test_yaml_that_is_none_is_found() -> None:
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load("command: [vadpipe, extract")
