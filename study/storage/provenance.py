"""Where a run was made: versions, the revision of this code, the hardware."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any


def provenance(nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The `versions`, `git` and `hardware` of study.json. `nodes` are each node's resources as Ray names them."""
    packages = ["torch", "torchvision", "ray", "optuna", "pandas", "numpy", "pyarrow", "scipy"]
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "git": git(),
        "hardware": {
            **machine(),
            "nodes": [{name: node[name] for name in ("CPU", "GPU") if name in node} for node in nodes],
        },
    }


def machine() -> dict[str, Any]:
    """The machine that this process runs on."""
    return {
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def git() -> dict[str, Any] | None:
    """The revision of this code, and whether it was changed since; None where it is not a checkout of this project."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None  # a virtual environment inside another project's checkout has that project's revision
    try:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
