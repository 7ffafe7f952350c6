"""A Ray of our own on this machine: how many CPUs and GPUs it offers, where its files are, and what signals reach it.

Ray decides most of this well. Here is what it leaves out: a process's CPU affinity, MIG slices, a TMPDIR that is too
long for sockets, and a session of its own.
"""

import math
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import services

from study.errors import ClusterError

# What Ray adds to its folder for the longest of its sockets' paths, and how long such a path may be (unix(7): 108 bytes
# with a closing zero; 104 on macOS).
SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
LONGEST_PATH = 107 if sys.platform == "linux" else 103
FOLDERS = ("/tmp", "/var/tmp")


def start(**options: Any) -> None:
    """Starts Ray on this machine with all CPUs and GPUs that this process may use. `options` are ray.init's.

    Raises:
        ClusterError: Ray cannot start here.
    """
    slices = mig_slices()
    if slices:
        options["num_gpus"] = len(slices)
    folder = folder_for_sockets()
    if folder is not None:
        options["_temp_dir"] = folder
    try:
        with _own_session(), _our_packages_first(), _visible_gpus(slices), _token_without_home():
            ray.init(address="local", include_dashboard=False, num_cpus=cpu_count(), **options)
    except Exception as error:  # Ray raises a bare Exception where its processes do not answer in time
        raise ClusterError(f"Ray cannot start on this machine: {' '.join(str(error).split())}") from None


def cpu_count(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """CPUs that this process may use: those of its affinity mask, and no more than its cgroups' quota, rounded down.

    At least one. Reads cgroup version 2 (cpu.max) and version 1 (cpu.cfs_quota_us), as the kernel's documents cgroup-v2
    and sched-bwc describe them.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([allowed, *_quotas(cgroups, own)])))


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """CPUs that each cgroup of this process allows, from its own up to the root; nothing where there is no limit."""
    names = [line.split(":", 2) for line in own.read_text().splitlines()] if own.exists() else []
    for _, controllers, name in names:
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the root of the file system may already be the process's own cgroup.
        root = cgroups / "cpu" if controllers else cgroups
        group = root / name.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    except OSError:
        return
    if quota not in ("max", "-1"):
        yield float(quota) / float(period)


def mig_slices() -> list[str]:
    """UUIDs of the MIG slices that this process may use; empty where there are none.

    Ray counts GPUs, not their slices, and without CUDA_VISIBLE_DEVICES a process sees the first slice only.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.startswith("MIG-")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    words = listed.replace("(", " ").replace(")", " ").split()
    return [word for word in words if word.startswith("MIG-")]


@contextmanager
def _visible_gpus(slices: list[str]) -> Iterator[None]:
    """Inside, Ray hands out `slices`, if there are any, as GPUs."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not slices or before is not None:
        yield
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(slices)
    try:
        yield
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]


def folder_for_sockets() -> str | None:
    """A folder for Ray's sockets and logs where its own choice has too long a path or cannot be written; else None.

    Raises:
        ClusterError: there is no such folder.
    """
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or FOLDERS[0]
    for parent in (chosen, *FOLDERS):
        folder = os.path.join(parent, "ray")
        nearest = folder if os.path.isdir(folder) else parent
        if len(os.fsencode(folder + SOCKET)) <= LONGEST_PATH and os.access(nearest, os.W_OK | os.X_OK):
            return None if parent == chosen else folder
    most = LONGEST_PATH - len("/ray" + SOCKET)
    raise ClusterError(
        f"Ray needs a folder that can be written, with a path of at most {most} characters; neither {chosen} nor "
        f"{' nor '.join(FOLDERS)} is one; set RAY_TMPDIR to such a folder"
    )


@contextmanager
def _own_session() -> Iterator[None]:
    """Inside, the processes that Ray starts get sessions of their own.

    A terminal, timeout, systemd, Slurm and Kubernetes send their signals to a whole process group. Ray's processes must
    not get them: they would be gone before the driver has stopped its trials. They still end with the driver, as Linux
    kills them then (PR_SET_PDEATHSIG); elsewhere Ray needs them in the driver's group for that. Ray has no option for
    this.
    """
    if sys.platform != "linux":
        yield
        return
    popen = services.ConsolePopen
    setattr(services, "ConsolePopen", partial(popen, start_new_session=True))  # noqa: B010
    try:
        yield
    finally:
        setattr(services, "ConsolePopen", popen)  # noqa: B010


@contextmanager
def _token_without_home() -> Iterator[None]:
    """Inside, where Ray cannot keep the token of its own processes in the home folder, they share one in memory."""
    folder = Path(os.path.expanduser("~/.ray"))
    given = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = (folder / "auth_token").exists() or os.access(folder, os.W_OK)
    except OSError:
        kept = False
    if given or kept:
        yield
        return
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN"]


@contextmanager
def _our_packages_first() -> Iterator[None]:
    """Inside, Ray's workers look for modules first where our packages are, then where this process looks.

    Otherwise they begin with the driver's current folder, where a user may have a study.py or results.py.
    """
    here, before = os.getcwd(), os.environ.get("PYTHONPATH")
    script = os.path.dirname(os.path.abspath(sys.argv[0]))
    user = [folder for folder in (script, here) if folder in sys.path or folder == here]
    os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), *user])
    try:
        with chdir(Path(__file__).parents[2]):
            yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
