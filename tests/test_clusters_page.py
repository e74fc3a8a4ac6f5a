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
FILLED = {
    "$SLURM_ARRAY_TASK_ID": "5",
    "$SLURM_CPUS_PER_TASK": "4",
    "$TMPDIR": "/scratch",
    "{}": "3",
    "$(date +%s)": "1",
}


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
    if shard is not None and shard != "none" and not shard.startswith("auto"):
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


def fate(rules: list[dict[str, Any]], container: str, code: int, *, disrupted: bool = False) -> str:
    """What a failed pod's index comes to: the first rule that fits, else an attempt of it is counted."""
    for rule in rules:
        if any(one["type"] == "DisruptionTarget" for one in rule.get("onPodConditions", ())) and disrupted:
            return str(rule["action"])
        if (codes := rule.get("onExitCodes")) is not None and codes["containerName"] == container:
            assert codes["operator"] == "In"
            if code in codes["values"]:
                return str(rule["action"])
    return "Count"


def test_broken_videos_and_evictions_end_neither_the_job_nor_an_attempt() -> None:
    spec = job()["spec"]
    rules, (container,) = spec["podFailurePolicy"]["rules"], spec["template"]["spec"]["containers"]
    assert [fate(rules, container["name"], code) for code in (1, 2, 3, 137, 143)] == [
        *("Count", "FailIndex", "FailIndex", "Count", "Count"),
    ]
    assert [fate(rules, container["name"], code, disrupted=True) for code in (3, 137, 143)] == ["Ignore"] * 3
    assert spec.get("maxFailedIndexes", spec["completions"]) >= spec["completions"]
    assert spec["backoffLimitPerIndex"] >= 1
    assert "backoffLimit" not in spec  # of all indexes together
    assert container["command"][0] == "vadpipe"  # the first process of the pod, which gets the signal


def test_an_array_whose_tasks_have_videos_of_their_own_takes_them_all() -> None:
    scripts = [text for text in blocks("bash") if "#SBATCH" in text]
    assert any("--shard none" in text for text in scripts)
    for text in scripts:
        if any("$SLURM_ARRAY_TASK_ID" in line.partition("--out")[0] for line in text.splitlines()):
            assert "--shard none" in text


def test_what_failed_is_given_again_from_the_log_that_was_written() -> None:
    (text,) = [text for text in blocks("bash") if "parallel" in text]
    first, again = text.splitlines()
    assert "--retry-failed" in again
    logs = [re.findall(r"--joblog (\S+)", line) for line in (first, again)]
    assert logs[0] == logs[1] != []


def test_yaml_that_is_none_is_found() -> None:
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load("command: [vadpipe, extract")
