"""The recipes in deploy/: well formed, and with command lines that the suite takes."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from study import run

DEPLOY = Path(__file__).parent.parent / "deploy"

# What a RayJob of KubeRay 1.x must have where ours uses it. The manifest was also checked once against the operator's
# own definition, at 1.4 MB too large to keep here: ray.io_rayjobs.yaml of 2026-08-19, unknown fields refused, no error.
CONTAINER = {
    "type": "object",
    "required": ["name", "image", "resources"],
    "properties": {
        "name": {"type": "string"},
        "image": {"type": "string"},
        "env": {"type": "array", "items": {"properties": {"name": {"type": "string"}, "value": {"type": "string"}}}},
        "envFrom": {"type": "array"},
        "resources": {"properties": {"limits": {"additionalProperties": {"type": "string"}}}},
        "volumeMounts": {"type": "array", "items": {"required": ["name", "mountPath"]}},
    },
    "additionalProperties": False,
}
TEMPLATE = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "required": ["containers"],
            "properties": {"containers": {"type": "array", "minItems": 1, "items": CONTAINER}},
        }
    },
}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
RAY_JOB = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "spec": {
            "required": ["entrypoint", "rayClusterSpec"],
            "additionalProperties": False,
            "properties": {
                "entrypoint": {"type": "string"},
                "backoffLimit": {"type": "integer"},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer"},
                "rayClusterSpec": {
                    "required": ["headGroupSpec", "workerGroupSpecs"],
                    "additionalProperties": False,
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "headGroupSpec": {
                            "required": ["rayStartParams", "template"],
                            "additionalProperties": False,
                            "properties": {"rayStartParams": PARAMETERS, "template": TEMPLATE},
                        },
                        "workerGroupSpecs": {
                            "type": "array",
                            "items": {
                                "required": ["groupName", "rayStartParams", "template"],
                                "additionalProperties": False,
                                "properties": {
                                    "groupName": {"type": "string"},
                                    "replicas": {"type": "integer"},
                                    "minReplicas": {"type": "integer"},
                                    "maxReplicas": {"type": "integer"},
                                    "rayStartParams": PARAMETERS,
                                    "template": TEMPLATE,
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture
def ray_job() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "rayjob.yaml").read_text()))


def test_the_ray_job_fits_its_schema(ray_job: dict[str, Any]) -> None:
    jsonschema.validate(ray_job, RAY_JOB)
    for group in (
        ray_job["spec"]["rayClusterSpec"]["headGroupSpec"],
        *ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ):
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def unknown_flags(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The flags among `arguments` that `study.run --help` does not name."""
    with pytest.raises(SystemExit):
        run.main(["--help"])
    known = capsys.readouterr().out
    if "--resume-or-start" not in known:
        pytest.skip("--resume-or-start is not there yet")
    return [flag for flag in arguments if flag.startswith("--") and flag not in known]


def test_the_ray_job_asks_for_a_study_that_resumes(ray_job: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    program, command, *arguments = shlex.split(ray_job["spec"]["entrypoint"])
    assert (program, command) == ("imagestudy", "run")
    assert {"--resume-or-start", "--name", "--storage-path"} <= set(arguments)
    assert unknown_flags(arguments, capsys) == []


# Slurm's commands, as far as the script needs them: srun drops its own options and runs the rest once.
STUBS = {
    "scontrol": "printf 'node1\\nnode2\\n'",
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "hostname": "echo 10.0.0.1 192.168.0.1",
    "ray": 'printf "%s\\n" "$@" > "$RECORDED"',
}


def test_the_slurm_script_runs_one_study_on_all_nodes_and_resumes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {
        "JOB_NODELIST": "node[1-2]",
        "JOB_NUM_NODES": "2",
        "JOB_ID": "123456",
        "JOB_NAME": "wide",
        "CPUS_PER_TASK": "8",
    }
    environment = {f"SLURM_{name}": value for name, value in slurm.items()}
    environment |= {"PATH": f"{tmp_path}:/usr/bin:/bin", "RECORDED": str(tmp_path / "ray.txt"), "SHARED": "/shared"}
    script = DEPLOY / "study.sbatch"
    subprocess.run(["bash", str(script), "--space", "cnn", "--samples", "200"], env=environment, check=True)
    recorded = (tmp_path / "ray.txt").read_text().splitlines()
    split = recorded.index("--")
    ours, study = recorded[:split], recorded[split + 1 :]
    assert ours == ["symmetric-run", "--address", "10.0.0.1:23456", "--min-nodes", "2", "--num-cpus=8"]
    assert study[:3] == ["python", "-m", "study.run"]
    assert study[-4:] == ["--space", "cnn", "--samples", "200"]
    assert study[study.index("--name") + 1] == "wide"
    assert study[study.index("--address") + 1] == "10.0.0.1:23456"
    assert unknown_flags(study[3:], capsys) == []
