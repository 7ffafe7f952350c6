"""The Ray that trainings run on: one of our own on this machine, or a cluster that runs already."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.errors import ClusterError
from study.execution import local_ray
from study.storage.store import Store

LOCAL = "local"
CLIENT = "ray://"
FORMS = "local, auto or HOST:PORT"
SECONDS_TO_ANSWER = 5.0
SECONDS_TO_SEE = 120.0  # a node that has no worker process yet starts one
SECONDS_BETWEEN_LOOKS = 1.0
WAY_IN = "start one with: ray start --head, and set the same RAY_AUTH_MODE and token on all machines"
PACKAGES = ("study", "search_spaces", "results")


def check_answers(address: str) -> None:
    """Checks, before anything expensive, that something listens at an `address` of host and port.

    Raises:
        ClusterError: nothing does, or it is the address of a Ray Client server.
    """
    named = f"--address {address}"
    if address == "auto" and "RAY_ADDRESS" in os.environ:
        address = os.environ["RAY_ADDRESS"]
        named = f"--address auto (RAY_ADDRESS is {address})"
    if address.startswith(CLIENT):
        raise ClusterError(
            f"{named} (Ray Client) is not supported; submit the study to the cluster instead: "
            "ray job submit --address http://HOST:8265 -- python -m study.run --address auto --storage-path ..."
        )
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    try:
        _connect(host.strip("[]"), int(port))
    except (OSError, ValueError, OverflowError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ClusterError(f"{named}: no Ray answers there ({why}); allowed: {FORMS}") from None


def code() -> list[Path]:
    """Where the packages of the study are: where Ray has shipped them, each has a folder of its own."""
    specs = [find_spec(package) for package in PACKAGES]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or []]


# What Ray, and OpenMP in its workers, read from the environment; each is documented there. A user's own setting wins.
SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the event log has each one, in a line
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner at verbose=0 as well
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # they are handled: the event log has them, too
    # At Ray's 15 a thread that launches GPU kernels starves beside any busy process.
    "RAY_worker_niceness": "0",
    # Threads of a training that wait for each other leave their CPU to another training.
    "OMP_WAIT_POLICY": "passive",
}

# Workers that have timed the first steps wait for the final's evaluation, so that it need not import torch in new ones:
# so many beside one a CPU. Each takes about as much memory as a trial.
KEPT_WORKERS = 2


@contextmanager
def settings() -> Iterator[None]:
    """Inside, Ray and Ray Tune are quiet and leave signals alone; at the end environment and loggers are put back."""
    kept = {"RAY_num_workers_soft_limit": str(local_ray.cpu_count() + KEPT_WORKERS)}
    added = {name: value for name, value in {**SETTINGS, **kept}.items() if name not in os.environ}
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train")]
    levels = [logger.level for logger in loggers]
    os.environ.update(added)
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def start_ray(address: str = LOCAL) -> list[dict[str, Any]]:
    """Starts a Ray of our own on this machine, quietly, or joins the one at `address` as it is.

    One that this process has joined already is used in any case.

    Returns:
        The resources of each node, as Ray names them.

    Raises:
        ClusterError: there is no Ray at `address` that this process can join, or none can start here.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL, "configure_logging": True}
    if not ray.is_initialized():
        before = set(os.environ)
        with settings(), _own_handler():
            if address == LOCAL:
                local_ray.start(**quiet)
            else:
                _join(address, quiet)
        _set_by_ray.update(set(os.environ) - before)
        for name in [name for name in _set_by_ray if not name.startswith("RAY_")]:
            del os.environ[name]  # such as PYTHONBREAKPOINT; those of its own Ray may read again
    _note_processes(address)
    return [node["Resources"] for node in _nodes()]


@contextmanager
def _own_handler() -> Iterator[None]:
    """At the end SIGTERM has its handler of before. Ray sets one that ends the process without a word."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def is_started() -> bool:
    """Whether this process has started or joined a Ray already."""
    return bool(ray.is_initialized())


def stop_ray() -> None:
    """Stops the Ray that this process has started, or leaves the cluster that it has joined."""
    ray.shutdown()
    for name in _set_by_ray:
        os.environ.pop(name, None)
    _set_by_ray.clear()


# Variables that Ray has put into this process's environment.
_set_by_ray: set[str] = set()


def _join(address: str, options: dict[str, Any]) -> None:
    # Workers run this very code, whatever is installed on their machines.
    shipped = {"py_modules": [str(place) for place in code()], "excludes": ["__pycache__"]}
    try:
        ray.init(address=address, runtime_env=shipped, **options)
        actor = ray.remote(_Actor).options(num_cpus=0).remote()
        ray.get(actor.answer.remote(), timeout=SECONDS_TO_SEE)  # type: ignore[attr-defined]
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        words = str(error).strip().splitlines()
        why = (words[-1] if words[0].endswith(":") else words[0]).strip().rstrip(".")  # a traceback ends with it
        raise ClusterError(f"--address {address}: {why}; {WAY_IN}") from None


# Where the Ray processes that this one depends on listen. Asking Ray for it takes a GCS that lives.
_listening: dict[str, tuple[str, int]] = {}


def _note_processes(address: str) -> None:
    here = ray.get_runtime_context().get_node_id()
    (node,) = [node for node in _nodes() if node["NodeID"] == here]
    _listening.clear()
    _listening["raylet"] = (node["NodeManagerAddress"], node["NodeManagerPort"])
    if address == LOCAL:  # a cluster's may come back, and Ray then continues
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        _listening["GCS"] = (host, int(port))


def dead_process() -> str | None:
    """The name of a Ray process of this machine that does not listen any more: raylet or GCS; None while all live."""
    for name, (host, port) in _listening.items():
        try:
            _connect(host, port)
        except OSError:
            return name
    return None


def is_up() -> bool:
    """Whether the Ray processes of this machine live: to Ray Tune the death of one is an error of each trial."""
    return dead_process() is None


@contextmanager
def watch(give_up: Callable[[str], None], patience: float = 3.0) -> Iterator[None]:
    """Inside, a thread looks every second whether this machine's Ray processes live.

    Where one has died, calls into Ray wait a minute for it, after which Ray ends this process without a message. Before
    that, `give_up` is called from the thread with the dead process's name, and is expected to end this process.

    Args:
        patience: seconds after a death in which the block may still end by itself.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            if (dead := dead_process()) is not None:
                if not ended.wait(patience):
                    give_up(dead)
                return

    threading.Thread(target=look, name="ray-watch", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def check_shared(store: Store) -> None:
    """Checks that every node reads from `store` what this process writes there.

    Raises:
        ClusterError: it cannot be written, or a node does not see it.
    """
    place, name, token = store.location.partition("?")[0], f".{uuid4().hex}", uuid4().hex
    try:
        store.write(name, token.encode())
    except OSError as error:
        raise ClusterError(f"--storage-path: nothing can be written there: {error}") from None
    try:
        blind = _that_do_not_see(store, name, token)
    finally:
        store.delete(name)
    if blind:
        raise ClusterError(
            f"--storage-path: {place} is not the same place on {', '.join(blind)}; give a folder that all nodes share, "
            "or an s3:// or gs:// URL that all can read"
        )


def _that_do_not_see(store: Store, name: str, token: str) -> list[str]:
    """Names of the nodes that do not read `token`."""

    def read() -> bool:
        try:
            return store.read(name) == token.encode()
        except OSError:
            return False

    nodes = _nodes()
    if len(nodes) == 1:
        return []  # it is this machine
    tasks = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        tasks[node["NodeID"]] = ray.remote(read).options(num_cpus=0, scheduling_strategy=there).remote()
    answered, _ = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=SECONDS_TO_SEE)
    blind = []
    for node in nodes:
        task = tasks[node["NodeID"]]
        try:
            sees = task in answered and ray.get(task)
        except RayError:
            sees = False
        if not sees:
            blind.append(f"node {node['NodeManagerAddress']} ({node['NodeID'][:8]})")
    return blind


def _connect(host: str, port: int) -> None:
    socket.create_connection((host, port), SECONDS_TO_ANSWER).close()


class _Actor:
    """What any Ray can run, as it runs a trial."""

    def answer(self) -> None:
        pass


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
