"""The Ray that trainings run on: one of our own on this machine, or a cluster that runs already."""

import logging
import os
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.errors import ClusterError
from study.storage.store import Store

LOCAL = "local"
CLIENT = "ray://"
FORMS = "local, auto or HOST:PORT"
SECONDS_TO_ANSWER = 5.0
SECONDS_TO_SEE = 120.0  # a node that has no worker process yet starts one
WAY_IN = "start one with: ray start --head, and give RAY_AUTH_MODE and the token alike on all machines"
PACKAGES = ("study", "search_spaces", "results")


def check_answers(address: str) -> None:
    """Whether anything listens at an `address` of host and port, before anything expensive.

    Raises:
        ClusterError: nothing does, or this process lacks what it takes to ask.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "auto")
    if address.startswith(CLIENT):
        raise ClusterError(
            f"--address {address} (Ray Client) is not supported; submit the study to the cluster instead: "
            "ray job submit --address http://HOST:8265 -- python -m study.run --address auto --storage-path ..."
        )
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.rpartition(":")
    try:
        _connect(host.strip("[]"), int(port))
    except (OSError, ValueError, OverflowError) as error:
        why = (isinstance(error, OSError) and error.strerror) or str(error)
        raise ClusterError(f"--address {address}: no Ray answers there ({why}); allowed: {FORMS}") from None


def code() -> list[Path]:
    """Where the packages of the study are. In a driver that Ray itself has brought somewhere each is by itself."""
    specs = [find_spec(package) for package in PACKAGES]
    return [Path(place) for spec in specs if spec for place in spec.submodule_search_locations or []]


def start_ray(address: str = LOCAL) -> list[dict[str, Any]]:
    """Starts a Ray of our own on this machine, quietly, or joins the one at `address` as it is.

    One that this process has joined already is used in any case.

    Returns:
        The resources of each node, as Ray names them.

    Raises:
        ClusterError: there is no Ray at `address` that this process can join.
    """
    # Read by Ray at import or start; each is documented by Ray, and a user's own setting wins.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output prints a banner at verbose=0 as well
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")  # the record has each one, in a line
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # they are handled: the record has them, too
    for name in ("ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if ray.is_initialized():
        pass
    elif address == LOCAL:
        ray.init(address=LOCAL, include_dashboard=False, **quiet)
    else:
        # Workers run this very code, whatever is installed on their machines.
        shipped = {"py_modules": [str(place) for place in code()], "excludes": ["__pycache__"]}
        try:
            ray.init(address=address, runtime_env=shipped, **quiet)
            actor = ray.remote(_Actor).options(num_cpus=0).remote()
            ray.get(actor.answer.remote(), timeout=SECONDS_TO_SEE)  # type: ignore[attr-defined]
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            words = str(error).strip().splitlines()
            why = (words[-1] if words[0].endswith(":") else words[0]).strip().rstrip(".")  # a traceback ends with it
            raise ClusterError(f"--address {address}: {why}; {WAY_IN}") from None
    return [node["Resources"] for node in _nodes()]


def is_started() -> bool:
    """Whether this process has started or joined a Ray already."""
    return bool(ray.is_initialized())


def stop_ray() -> None:
    """Stops the Ray that this process has started, or leaves the cluster that it has joined."""
    ray.shutdown()


def is_up() -> bool:
    """Whether the Ray process of this machine, the raylet, lives: to Ray Tune its death is one of each trial."""
    here = ray.get_runtime_context().get_node_id()
    raylet = next((node for node in _nodes() if node["NodeID"] == here), None)
    try:
        if raylet is not None:
            _connect(raylet["NodeManagerAddress"], raylet["NodeManagerPort"])
    except OSError:
        return False
    return raylet is not None


def check_shared(store: Store) -> None:
    """Whether every node reads from `store` what this process writes there.

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
