"""A study over Ray Client, --address ray://HOST:PORT: its driver runs in the cluster, its words and its run come here.

Ray Tune runs where its driver is, and a driver's callbacks write the record, so the driver has to be a whole process on
one machine. The same program is therefore started on the cluster's head by an actor that belongs to this process: lines
are relayed as they come, signals are handed on, and in the end the run is fetched from its store.

    python -m study.remote study.run '["--address", "auto"]' FLAGS    # what the actor starts there
"""

import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import ray
from ray.exceptions import RayError

from study import cluster
from study.cluster import ClusterError
from study.opening import Machine, UsageError, check, lock
from study.recipe import RECIPES
from study.record import RecordError, StudyFile
from study.store import Store, fetch

# In the driver's folder: the runs, and the files that flags name here. The run keeps a copy of those, as it may be
# resumed where they are not.
RUNS, GIVEN = "runs", "given"
# Below the home of whoever runs the cluster, so that a relative --data-dir is the same for all studies.
DATA_THERE = ".cache/cifar10-study"
WARM_START = ("study.json", "epochs.jsonl", "final/metrics.json")  # what the searcher learns from
SECONDS_TO_START = 300.0
SECONDS_OF_SILENCE = 0.5  # after which the actor says that there are no words yet; a signal waits so long at most
SECONDS_TO_STOP = 120.0  # for a driver whose actor is gone
OWN_TO_WORKERS = ("RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_CLIENT_MODE", "OMP_NUM_THREADS")

UNREACHABLE = (ConnectionError, RuntimeError, RayError)

Line = tuple[str, str]  # "stdout" or "stderr", and the line with its end


def carry_out(program: str, machine: Machine, asked: Mapping[str, Any], command: Sequence[str], name: str) -> int:
    """Runs `program` in the cluster, and brings its run here.

    Args:
        asked: the arguments as study.json keeps them, of a resumed run those of its beginning with what is new.
        command: the flags as they were given.
        name: of a new run.

    Returns:
        The exit code of the program there; 1 where it, or its run, is out of reach.

    Raises:
        UsageError, ClusterError, StoreError, RecordError: nothing was begun there.
    """
    if machine.storage_path is None:
        raise UsageError(
            f"--address {machine.address} needs --storage-path, a folder that this machine and the cluster share, or "
            "an s3:// or gs:// URL: the run comes back from there"
        )
    check(machine)
    with _place(program, Store(machine.storage_path), asked, name) as (run_dir, store):
        files, there = _shipped(asked, run_dir if asked["resume"] is None else Path(asked["resume"]))
        there |= {"storage_path": machine.storage_path, "name": run_dir.name, "data_dir": str(machine.data_dir)}
        lost = kept = None
        cluster.start_ray(machine.address)
        try:
            cluster.check_shared(Store(machine.storage_path))
            with _signals() as signals:
                driver = _start(program, command, files, there, None if asked["resume"] is None else store)
                try:
                    code = _relay(driver, signals, _translation(asked, there, run_dir))
                    kept = ray.get(driver.clear.remote(store))
                except BrokenPipeError:
                    raise  # nobody reads here any more; the cluster is well
                except UNREACHABLE as error:
                    lost, code = _words(error), 1
        finally:
            ray.shutdown()
        if kept is not None:
            why = "what comes here is as far behind as the copy in the store"
            print(f"{program}: {why}; the run itself is on the cluster's head, in {kept}", file=sys.stderr)
        missing = _bring(program, store, run_dir, asked)
        if lost is not None:
            again = (
                f"; go on with: python -m {program} --resume {shlex.quote(str(run_dir))}" if run_dir.exists() else ""
            )
            print(f"{program}: the driver in the cluster is out of reach, and ends: {lost}{again}", file=sys.stderr)
        return missing or code


@contextmanager
def _place(program: str, storage: Store, asked: Mapping[str, Any], name: str) -> Iterator[tuple[Path, Store]]:
    """The run's directory here and its store; no other process of this machine works on it meanwhile."""
    if asked["resume"] is None:
        run_dir, store = Path(asked["runs_dir"]) / name, storage.below(name)
        if run_dir.exists():
            raise UsageError(f"run {run_dir} exists already; give another --name or --runs-dir")
        if store.read("study.json") is not None:
            raise UsageError(f"--storage-path holds a run {name} already; give another --name, or --resume it")
        try:
            run_dir.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"run {run_dir} cannot be made: {error.strerror}; give another --runs-dir") from None
        if not os.access(run_dir.parent, os.W_OK):
            raise UsageError(f"nothing can be written to {run_dir.parent}; give another --runs-dir")
        yield run_dir, store
        return
    resumed = Path(asked["resume"])
    store = storage.below(resumed.name)
    # A folder's copy may be resumed by its own path, where nothing is here.
    run_dir = Path(asked["runs_dir"]) / resumed.name if store.folder == resumed.resolve() else resumed
    if store.read("study.json") is None:
        raise UsageError(f"--storage-path holds no run {resumed.name}; resume {resumed} at home, with --address local")
    if _is_behind(store, run_dir):
        again = f"python -m {program} --resume {shlex.quote(str(run_dir))} --address local"
        raise UsageError(
            f"{run_dir} has more than its copy in the store, which would be resumed; copy it with: {again}"
        )
    held = lock(run_dir) if run_dir.exists() else None
    try:
        yield run_dir, store
    finally:
        if held is not None:
            held.release()


def _is_behind(store: Store, run_dir: Path) -> bool:
    """Whether anything that was done is here and not in the store: epochs of any part, or an evaluation."""
    openings = [
        StudyFile(run_dir / "study.json").content["test_openings"] if run_dir.exists() else [],
        json.loads(store.read("study.json") or b"{}").get("test_openings", []),
    ]
    done = [*run_dir.glob("epochs.jsonl"), *run_dir.glob("*/epochs.jsonl"), *run_dir.glob("final/probabilities/*.npy")]
    sizes = {path: len(store.read(path.relative_to(run_dir).as_posix()) or b"") for path in done}
    return len(openings[0]) > len(openings[1]) or any(path.stat().st_size > size for path, size in sizes.items())


def _shipped(asked: Mapping[str, Any], run_dir: Path) -> tuple[dict[str, bytes], dict[str, str]]:
    """The files that flags name here, by their names there, and those flags as they are there.

    Args:
        run_dir: which has those of a run that began on a cluster.
    """
    files: dict[str, bytes] = {}
    there: dict[str, str] = {}

    def ship(flag: str, name: str) -> str:
        path = run_dir / name if name.startswith(f"{GIVEN}/") else Path(name)
        place = f"{GIVEN}/{flag}/{path.name}"
        try:
            files[place] = path.read_bytes()
        except OSError as error:
            raise UsageError(f"--{flag} {name}: {path} cannot be read: {error.strerror}") from None
        return place

    if (space := asked.get("space")) is not None:
        file, _, function = space.rpartition(":")
        there["space"] = f"{ship('space', file)}:{function}" if file.endswith(".py") else space
    there["recipe"] = asked["recipe"] if asked["recipe"] in RECIPES else ship("recipe", asked["recipe"])
    if (other := asked.get("warm_start")) is not None:
        place = f"{GIVEN}/warm-start/{Path(other).resolve().name}"
        there["warm_start"] = place
        if asked["resume"] is None:  # a resumed study has in its record what it learnt
            found = {name: Path(other) / name for name in WARM_START}
            files |= {f"{place}/{name}": path.read_bytes() for name, path in found.items() if path.exists()}
    return files, there


def _translation(asked: Mapping[str, Any], there: Mapping[str, str], run_dir: Path) -> Callable[[str], str]:
    """Puts the paths of here into a line from there, so that what it says to do can be done here."""
    pairs = {f"{RUNS}/{run_dir.name}": str(run_dir)}
    for flag in ("space", "recipe", "warm_start"):
        if there.get(flag, "").startswith(f"{GIVEN}/"):
            pairs[there[flag].rpartition(":")[0] or there[flag]] = asked[flag].rpartition(":")[0] or asked[flag]
    found = re.compile(r"(?<![\w./-])(" + "|".join(map(re.escape, pairs)) + r")(?![\w-])")
    return lambda line: found.sub(lambda match: pairs[match[1]], line)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGINTs and SIGTERMs that came inside and have not been handed on."""
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(
    program: str, command: Sequence[str], files: dict[str, bytes], there: dict[str, str], resumed: Store | None
) -> Any:
    """An actor whose driver has begun.

    Raises:
        ClusterError: it has not.
    """
    actor = ray.remote(_Driver).options(
        num_cpus=0,
        max_concurrency=4,
        resources={"node:__internal_head__": 0.001},
        # Ray hides the GPUs from who asks for none; the final's evaluation may use one, as at home.
        runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},
    )
    environment = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    environment["COLUMNS"] = str(shutil.get_terminal_size().columns)
    try:
        driver = actor.remote()
        begun = driver.start.remote(program, list(command), files, there, environment, resumed)  # type: ignore[attr-defined]
        ray.get(begun, timeout=SECONDS_TO_START)
    except UNREACHABLE as error:
        raise ClusterError(f"the driver cannot be started in the cluster: {_words(error)}") from None
    return driver


def _relay(driver: Any, signals: list[int], here: Callable[[str], str]) -> int:
    """Says here what is said there until the end there, and hands on `signals`; the exit code."""
    while True:
        while signals:
            ray.get(driver.signal.remote(signals.pop(0)))
        lines, code = ray.get(driver.words.remote())
        for stream, line in lines:
            out = sys.stdout if stream == "stdout" else sys.stderr
            out.write(here(line))
            out.flush()
        if code is not None:
            return int(code)


def _bring(program: str, store: Store, run_dir: Path, asked: Mapping[str, Any]) -> int:
    """Fetches the run from its store in place of what is here, if anything was begun; 1 where that fails."""
    try:
        if store.read("study.json") is None:
            return 0
        fetched, old = (run_dir.with_name(f".{run_dir.name}.{which}") for which in ("new", "old"))
        if old.exists() and not run_dir.exists():  # this end was killed between the two renamings below
            old.rename(run_dir)
        for left in (fetched, old):
            shutil.rmtree(left, ignore_errors=True)
        fetch(store, fetched)
        _make_at_home(StudyFile(fetched / "study.json"), asked, run_dir)
        if run_dir.exists():
            run_dir.rename(old)
        fetched.rename(run_dir)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, RecordError) as error:
        url = store.location if store.folder is None else str(store.folder)
        again = f"python -m {program} --resume {shlex.quote(url)} --address {asked['address']}"
        print(f"{program}: the run cannot be fetched to {run_dir}: {error}; go on with: {again}", file=sys.stderr)
        return 1
    return 0


def _make_at_home(study: StudyFile, asked: Mapping[str, Any], run_dir: Path) -> None:
    """Arguments that are places become those of here, so that --resume goes on from here without naming them again."""
    places = ("address", "runs_dir", "data_dir", "storage_path", "space", "recipe", "warm_start")
    here = {name: asked[name] for name in places if name in asked}
    for name, value in here.items():
        if value is not None and value.startswith(f"{GIVEN}/"):
            here[name] = str(run_dir / value)
    warm = study.content["warm_start"]
    study.update(
        arguments={**study.content["arguments"], **here}, warm_start=warm and {**warm, "run": here["warm_start"]}
    )


def _words(error: Exception) -> str:
    return [line.strip() for line in str(error).splitlines() if line.strip()][-1:][0] if str(error) else repr(error)


class _Driver:
    """In the cluster: the program in a folder of its own, which ends where this actor does."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="study-"))
        self._lines: queue.Queue[Line] = queue.Queue()
        self._given_is_kept = False
        self._begun_with = b""

    def start(
        self,
        program: str,
        command: list[str],
        files: dict[str, bytes],
        there: dict[str, str],
        environment: dict[str, str],
        resumed: Store | None,
    ) -> None:
        """Args:
        files: to put into the folder, by name.
        there: flags that `command` has otherwise, or not at all.
        resumed: the copy to go on with.
        """
        self._run = self._folder / RUNS / there["name"]
        for name, content in files.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(content)
        data_dir = str(Path.home() / DATA_THERE / there["data_dir"])
        there = {**there, "address": "auto", "runs_dir": RUNS, "data_dir": data_dir}
        if resumed is not None:
            self._run.parent.mkdir()
            fetch(resumed, self._run)
            study = StudyFile(self._run / "study.json")
            study.update(arguments={**study.content["arguments"], **there})
            self._begun_with = study.path.read_bytes()
            there["resume"] = f"{RUNS}/{there['name']}"
        flags = [text for name, value in there.items() for text in (f"--{name.replace('_', '-')}", value)]
        packages = [str(place.parent) for place in cluster.code()]
        own = {name: value for name, value in os.environ.items() if name not in OWN_TO_WORKERS}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "study.remote", program, json.dumps(flags), *command],
            cwd=self._folder,
            env={
                **own,
                **environment,
                "PYTHONPATH": os.pathsep.join(dict.fromkeys(packages)),
                "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
            },
            stdin=subprocess.PIPE,  # nothing is written to it: its end is the end of this actor
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._readers = [
            threading.Thread(target=self._read, args=(name, getattr(self._process, name)), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put((name, line))

    def words(self) -> tuple[list[Line], int | None]:
        """The lines since the last call, soon; and the exit code as a shell has it, with the last of them."""
        if not self._given_is_kept and (self._run / "study.json").exists():
            self._given_is_kept = True
            if (self._folder / GIVEN).exists():
                shutil.copytree(self._folder / GIVEN, self._run / GIVEN, dirs_exist_ok=True)
        lines: list[Line] = []
        code = self._process.poll()
        if code is not None:
            for reader in self._readers:
                reader.join(SECONDS_OF_SILENCE)
        try:
            lines.append(self._lines.get(timeout=0 if code is not None else SECONDS_OF_SILENCE))
            while True:
                lines.append(self._lines.get_nowait())
        except queue.Empty:
            pass
        return lines, 128 - code if code is not None and code < 0 else code

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def clear(self, store: Store) -> str | None:
        """Removes the folder; or says where it is, as the copy in the store is behind it."""
        if self._run.exists():
            records = [self._run / name for name in ("study.json", "epochs.jsonl") if (self._run / name).exists()]
            try:
                if any(record.read_bytes() not in (store.read(record.name), self._begun_with) for record in records):
                    return str(self._run)
            except OSError:
                return str(self._run)
        shutil.rmtree(self._folder, ignore_errors=True)
        return None


def main(command: Sequence[str]) -> int:
    """Runs a program of this package as the actor's child: its name, what is otherwise here, and the user's flags."""
    program, otherwise, *asked = command
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        # A Ray worker blocks SIGINT, and its child inherits that; one that has come so far comes here.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        return int(import_module(program).main([*asked, *json.loads(otherwise)], asked))
    except KeyboardInterrupt:
        print(f"{program}: stopped by SIGINT", file=sys.stderr)
        return 128 + signal.SIGINT


def _end_with_parent() -> None:
    """Waits for the end of standard input, which is that of the actor, however it came; then nobody reads on."""
    os.read(0, 1)  # no lock of sys.stdin's is held when the interpreter ends
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(SECONDS_TO_STOP)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
