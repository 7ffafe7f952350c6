"""What a GPU does with this suite: is it right, and how fast is it? Unattended, under eight minutes on one card.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --dry-run

First what must be right: the same batches and losses as on a CPU, precisions, repetition, resuming on another device,
no waiting inside a stretch of steps, memory, a card that is full, four trials at once on it. Then speed. Each part runs
in a process of its own with a time-out; gpu.json has what each said, as soon as it has ended. Exits with 1 where a
check failed or a part did not end. `--dry-run` does all this in small on a CPU, to see that it runs.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from study.data.dataset import CIFAR10, Split
from study.execution.recorder import is_out_of_gpu_memory
from study.recipe import BASELINE, RECIPES, Recipe
from study.training import devices
from study.training.loop import Training

BUDGET = 465.0  # seconds, for all parts together
DRY_PATIENCE = 5  # times as long for a part of a dry run, which may share its CPU
MOVED = {"flip": "random", "translate": 4}
DRAWN = {**MOVED, "jitter": 0.2, "cutout": 8, "mixup": 0.4}
SMALL = BASELINE.with_fields({"batch_size": 64, "lr": 0.01, "epochs": 1000})
NETWORKS: dict[str, Recipe] = {
    "baseline, batch 32": BASELINE,
    "baseline, batch 512": BASELINE.with_fields({"batch_size": 512}),
    "baseline, batch 32, augmented": BASELINE.with_fields(DRAWN),
    "fast": RECIPES["fast"],
    "fast in float32": RECIPES["fast"].with_fields({"precision": "float32"}),
    "ResNet-18": Recipe(model="resnet18", batch_size=256, precision="bfloat16"),
}
AT_ONCE = (1, 2, 4, 8)
LONG_EPOCH = 10.0  # seconds


@dataclass(frozen=True)
class Size:
    """How much each part does.

    Attributes:
        images: of a whole epoch; few: of a quick one.
        seconds: of each measurement of images a second.
        repeats: of each timed epoch, after one that warms up.
    """

    device: str
    images: int
    few: int
    seconds: float
    repeats: int
    networks: tuple[str, ...]
    at_once: tuple[int, ...]

    @property
    def is_gpu(self) -> bool:
        return self.device == "cuda"

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()


FULL = Size("cuda", 50_000, 12_800, 4.0, 3, tuple(NETWORKS), AT_ONCE)
DRY = Size("cpu", 256, 192, 0.2, 1, ("baseline, batch 32",), (1, 2))


def made_images(number: int) -> Split:
    """Images uint8 [number, 32, 32, 3] that can be learnt: a pattern a class, under noise."""
    random = np.random.default_rng(0)
    labels = np.arange(number) % 10
    patterns = random.integers(0, 128, (10, 32, 32, 3), dtype=np.uint8)
    return Split(patterns[labels] + random.integers(0, 128, (number, 32, 32, 3), dtype=np.uint8), labels)


def digest(training: Training) -> str:
    found = sha256()
    for value in training.model.state_dict().values():
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def weights(training: Training) -> torch.Tensor:
    return torch.cat([value.flatten().double().cpu() for value in training.model.state_dict().values()])


def apart(one: float, other: float) -> float:
    """The relative difference."""
    return abs(one - other) / max(abs(one), abs(other), 1e-12)


def train_losses(training: Training, epochs: int) -> list[float]:
    return [float(epoch.metrics["train_loss"] or 0.0) for epoch in islice(training, epochs)]


# Correctness: each part says whether what it looked at is as it must be, and by what numbers.


def machine(size: Size) -> dict[str, Any]:
    """What was measured on. Without a CUDA device nothing else makes sense."""
    said: dict[str, Any] = {"python": sys.version.split()[0], "torch": torch.__version__, "cpus": os.cpu_count()}
    if size.is_gpu and torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        said |= {"gpu": card.name, "memory_bytes": card.total_memory, "capability": f"{card.major}.{card.minor}"}
        said |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        said |= {"bfloat16": torch.cuda.is_bf16_supported(including_emulation=False)}
    return {"passed": not size.is_gpu or torch.cuda.is_available(), **said}


def steps(size: Size) -> dict[str, Any]:
    """The same batches as on a CPU, bit for bit, and the losses of its steps as far as float32 goes."""
    split = made_images(20 * 64)
    batches = []
    for device in ("cpu", size.device):
        training = Training(SMALL.with_fields(MOVED), split, device=device)
        with training._own_generator():
            order = training._new_order()
            batches.append(torch.cat([pixels.cpu() for pixels, _ in training._batches(order)]))
    losses, ends = [], []
    for device in ("cpu", size.device):
        training = Training(SMALL.with_fields(DRAWN), split, device=device)
        train_losses(training, 1)
        losses.append(training._losses.cpu())
        ends.append(weights(training))
    differences = ((losses[0] - losses[1]) / losses[0]).abs()
    of_weights = float((ends[0] - ends[1]).norm() / ends[0].norm())
    same = torch.equal(*batches)
    return {
        "passed": same and float(differences[0]) < 1e-4 and of_weights < 1e-2,
        "same_batches": same,
        "loss_apart_first_step": float(differences[0]),
        "loss_apart_worst_of_20_steps": float(differences.max()),
        "weights_apart_after_20_steps": of_weights,
    }


def precision(size: Size) -> dict[str, Any]:
    """float32 is float32, also where the process allows TF32; mixed precisions learn as it does."""
    device = torch.device(size.device)
    torch.backends.cudnn.allow_tf32 = True
    images, kernels = torch.randn(64, 64, 16, 16), torch.randn(64, 64, 3, 3)
    exact = F.conv2d(images.double(), kernels.double())
    with devices.without_tf32(device):
        found = F.conv2d(images.to(device), kernels.to(device)).cpu().double()
    error = float((found - exact).abs().max() / exact.abs().max())
    mixed = {
        "float32": devices.arithmetic("float32", device),
        "as the recipe's bfloat16": devices.arithmetic("bfloat16", device),
        "float16": devices.Arithmetic("float16", torch.float16, devices.LOSS_SCALE),
    }
    fields = {"batch_size": 128, "epochs": 1, "lr": 0.05, "precision": "float32", **NARROW[size.device]}
    losses = {}
    for name, used in mixed.items():
        training = Training(RECIPES["fast"].with_fields(fields), made_images(size.few), device=device)
        training.arithmetic = used
        training._loss_scale = None if used.loss_scale is None else torch.tensor(used.loss_scale, device=device)
        losses[name] = train_losses(training, 1)[0]
    worst = max(apart(loss, losses["float32"]) for loss in losses.values())
    return {
        "passed": error < 1e-4 and worst < 0.05,  # TF32 keeps 10 bits: 1e-3
        "float32_convolution_error": error,
        "bfloat16_is": mixed["as the recipe's bfloat16"].name,
        "train_losses": losses,
    }


NARROW: dict[str, dict[str, Any]] = {"cuda": {}, "cpu": {"channels": "8-8-8-8"}}


def twice(size: Size) -> dict[str, Any]:
    """One training repeated, alone and beside three others on the card. Bits may differ on a GPU; losses may not."""
    split, recipe = made_images(size.few), SMALL.with_fields(MOVED)
    found = []
    for beside in (0, 0, 3 if size.is_gpu else 1):
        with neighbours(beside, size, seconds=20 if size.is_gpu else 0.2):
            training = Training(recipe, split, device=size.device)
            found.append((train_losses(training, 2)[-1], digest(training)))
    (first, same), (second, again), (beside_others, third) = found
    return {
        "passed": max(apart(first, second), apart(first, beside_others)) < 1e-2,
        "same_bits_alone": same == again,
        "same_bits_beside_others": same == third,
        "train_loss_apart_alone": apart(first, second),
        "train_loss_apart_beside_others": apart(first, beside_others),
    }


def resume(size: Size) -> dict[str, Any]:
    """An epoch on one device and the next on the other, against both on one."""
    split, recipe = made_images(size.few), SMALL.with_fields(MOVED)
    ends = {}
    for name, path in {
        "gpu, gpu": (size.device, size.device),
        "cpu, gpu": ("cpu", size.device),
        "gpu, cpu": (size.device, "cpu"),
    }.items():
        first, second = (Training(recipe, split, device=device) for device in path)
        train_losses(first, 1)
        second.load_state_dict(first.state_dict())
        ends[name] = train_losses(second, 1)[0]
    worst = max(apart(loss, ends["gpu, gpu"]) for loss in ends.values())
    return {"passed": worst < 0.02, "train_losses_of_the_second_epoch": ends}


def waiting(size: Size) -> dict[str, Any]:
    """How often the steps of a stretch wait for the GPU (torch.cuda.set_sync_debug_mode): never."""
    counts = {}
    for name, recipe in {"plain": SMALL, "moved": SMALL.with_fields(MOVED), "drawn": SMALL.with_fields(DRAWN)}.items():
        training = Training(recipe, made_images(64 * 10), device=size.device)
        train_losses(training, 1)  # what is done once, such as choosing kernels
        training.model.train()
        order = training._new_order()
        size.wait()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if size.is_gpu:
                torch.cuda.set_sync_debug_mode("warn")
            for pixels, labels in training._batches(order[: 64 * 10]):
                training._train_on(pixels, labels)
            if size.is_gpu:
                torch.cuda.set_sync_debug_mode("default")
        counts[name] = Counter(str(each.message)[:100] for each in caught if "synchroniz" in str(each.message))
    return {"passed": not any(counts.values()), "waits_in_10_steps": counts}


def memory(size: Size) -> dict[str, Any]:
    """What each training takes of a GPU's memory at most, and what torch takes beside its tensors."""
    taken: dict[str, Any] = {}
    for name in size.networks:
        training = Training(NETWORKS[name], made_images(size.few), device=size.device)
        train_losses(training, 1)
        if size.is_gpu:
            taken[name] = torch.cuda.max_memory_reserved()
            free, total = torch.cuda.mem_get_info()
            beside = total - free - torch.cuda.memory_reserved()
            del training
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    if not size.is_gpu:
        return {"passed": True}
    # Only where nobody else uses the card is this torch's own.
    return {"passed": True, "reserved_bytes": taken, "beside_tensors_bytes": beside, "estimate": devices.CONTEXT_BYTES}


def out_of_memory(size: Size) -> dict[str, Any]:
    """A process that wants more than its quarter of the card gets an error that is recognised, trains on, and does not
    disturb its neighbour."""
    with neighbours(1, size, seconds=5 if size.is_gpu else 0.2) as others:
        said = ""
        try:
            if not size.is_gpu:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            devices.limit_memory(0.25)
            torch.empty(int(0.3 * torch.cuda.get_device_properties(0).total_memory), dtype=torch.uint8, device="cuda")
        except torch.OutOfMemoryError as error:
            said = f"{type(error).__name__}: {error}"
        (loss,) = train_losses(Training(SMALL, made_images(size.few), device=size.device), 1)
    return {
        "passed": is_out_of_gpu_memory(said) and all(other.returncode == 0 for other in others),
        "said": said[:200],
        "train_loss_after_it": loss,
    }


def quarters(size: Size) -> dict[str, Any]:
    """Four trainings with a quarter of the card each, placed by Ray: all on it, at the same time."""
    import ray

    from study.execution.cluster import settings
    from study.execution.trainable import PRETEND_GPUS

    if not size.is_gpu:
        os.environ[PRETEND_GPUS] = "1"
    with settings():
        ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
        task: Any = ray.remote(num_cpus=1, num_gpus=0.25)(_quarter)
        said = ray.get([task.remote(replace(size, seconds=3 * size.seconds)) for _ in range(4)], timeout=80)
        ray.shutdown()
    began, ended = max(each[1] for each in said), min(each[2] for each in said)
    return {
        "passed": [each[0] for each in said] == [size.device] * 4 and (began < ended or not size.is_gpu),
        "devices": [each[0] for each in said],
        "seconds_of_all_four_at_once": ended - began,
        "images_a_second_each": [each[3] for each in said],
    }


def _quarter(size: Size) -> tuple[str, float, float, float]:
    """Device, begin and end in seconds since 1970, and images a second."""
    from study.execution.trainable import WorkerSetup, device_of
    from study.storage.store import Store

    few = made_images(10)
    setup = WorkerSetup(few, None, CIFAR10, Store(tempfile.gettempdir()), (), False, 1, True)
    device, began = device_of(setup), time.time()
    rate = images_a_second(BASELINE, size)
    return device, began, time.time(), rate


# Speed


def kernels(size: Size) -> dict[str, Any]:
    """Kernels that a step launches, memory copies included."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    counted, at = {}, DeviceType.CUDA if size.is_gpu else DeviceType.CPU
    for name in size.networks:
        recipe = NETWORKS[name]
        training = Training(recipe, made_images(10 * recipe.batch_size), device=size.device)
        train_losses(training, 1)
        training.model.train()
        order = training._new_order()
        activity = [ProfilerActivity.CUDA if size.is_gpu else ProfilerActivity.CPU]
        with profile(activities=activity) as profiled:
            done = 0
            for pixels, labels in training._batches(order[: training._stretch]):
                training._train_on(pixels, labels)
                done += 1
            size.wait()
        counted[name] = round(sum(1 for event in profiled.events() if event.device_type == at) / done, 1)
    return {"kernels_a_step": counted}


def epochs(size: Size) -> dict[str, Any]:
    """Seconds of an epoch without validation, medians, and microseconds a step."""
    split, found = made_images(size.images), {}
    for name in size.networks:
        training = Training(NETWORKS[name].with_fields({"epochs": 1000}), split, device=size.device)
        seconds = [next(iter(training)).seconds]
        if seconds[0] < LONG_EPOCH:  # of a longer one, what it warms up for does not matter
            seconds = [epoch.seconds for epoch in islice(training, size.repeats)]
        found[name] = {"seconds": median(seconds), "microseconds_a_step": 1e6 * median(seconds) / training.steps}
    return {"epochs": found}


def graph(size: Size) -> dict[str, Any]:
    """Forward, backward and update of the baseline on one batch: launched one by one, and as one CUDA graph."""
    training = Training(SMALL.with_fields({"batch_size": 32}), made_images(64), device=size.device)
    model = training.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    images = training._normalized(training._pixels[:32].permute(0, 3, 1, 2))
    labels = training._labels[:32]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def microseconds(function: Callable[[], None], number: int) -> float:
        function()
        size.wait()
        began = time.perf_counter()
        for _ in range(number):
            function()
        size.wait()
        return 1e6 * (time.perf_counter() - began) / number

    if not size.is_gpu:
        return {"one_by_one_microseconds": microseconds(step, 5)}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    eager = microseconds(step, 500)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()
    replayed = microseconds(captured.replay, 500)
    return {"one_by_one_microseconds": eager, "graph_microseconds": replayed, "times": eager / replayed}


def packing(size: Size) -> dict[str, Any]:
    """Images a second of 1, 2, 4 and 8 trainings of the baseline at once on the card, all together."""
    return {"images_a_second": {str(number): _together(number, size) for number in size.at_once}}


def mps(size: Size) -> dict[str, Any]:
    """The same for four, where a process of NVIDIA's MPS lets their kernels run side by side."""
    control = shutil.which("nvidia-cuda-mps-control")
    if not size.is_gpu or control is None:
        return {"not_measured": "no nvidia-cuda-mps-control here"}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        subprocess.run([control, "-d"], check=True, timeout=20)
        try:
            return {"images_a_second": {"4": _together(4, size)}}
        finally:
            subprocess.run([control], input="quit\n", text=True, timeout=20, check=False)


def _together(number: int, size: Size) -> float:
    with neighbours(number, size, seconds=size.seconds) as others:
        pass
    return sum(float(other.rate) for other in others)


def study(size: Size) -> dict[str, Any]:
    """A whole study on images that need no download: wall time, the devices of its epochs, and what a training costs
    its slot beside its epochs."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "study.run", "--data-dir", f"{folder}/data", "--progress", "plain"]
        command += ["--runs-dir", folder, "--name", "gpu", "--final-epochs", "2"]
        small = ["--dataset", "digits", "--samples", "2", "--max-epochs", "1", "--gpus-per-trial", "0"]
        command += ["--dataset", "synthetic", "--samples", "16", "--max-epochs", "4"] if size.is_gpu else small
        began = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        if ended.returncode:
            return {"passed": False, "exit": ended.returncode, "said": (ended.stdout + ended.stderr)[-1000:]}
        log = [json.loads(line) for line in (Path(folder) / "gpu" / "epochs.jsonl").read_text().splitlines()]
        kept = json.loads((Path(folder) / "gpu" / "study.json").read_text())
    trained = [event for event in log if event["event"] == "epoch"]
    trainings = sum(event["event"] in ("trial", "promote") for event in log)
    slots = kept.get("slots", 1)
    idle = kept["seconds"]["search"] * slots - sum(event["seconds"] for event in trained)
    found = Counter(event["device"] for event in trained)
    return {
        "passed": all(name.startswith(size.device) for name in found),
        "seconds": seconds,
        "phases": kept["seconds"],
        "slots": slots,
        "devices": found,
        "slot_seconds_beside_epochs_a_training": idle / trainings,
    }


# Others on the same card


@dataclass
class Neighbour:
    """Another process that trains."""

    process: "subprocess.Popen[str]"
    rate: float = 0.0
    returncode: int | None = None


@contextlib.contextmanager
def neighbours(number: int, size: Size, seconds: float) -> Iterator[list[Neighbour]]:
    """Inside, `number` other processes train on the card, from when all are ready, for `seconds`; then they have ended,
    with their images a second."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.gpu", *([] if size.is_gpu else ["--dry-run"])]
        command += ["--neighbour", folder, str(number), str(seconds)]
        others = [Neighbour(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(number)]
        try:
            while len(list(Path(folder).glob("*.ready"))) < number:
                if any(other.process.poll() for other in others):
                    break  # one has failed: its return code says so
                time.sleep(0.05)
            yield others
            for other in others:
                said, _ = other.process.communicate()
                other.returncode = other.process.returncode
                other.rate = float(said.strip() or 0)
        finally:
            for other in others:
                with other.process:  # closes its pipe and waits for it
                    other.process.kill()


def be_a_neighbour(size: Size, folder: Path, number: int, seconds: float) -> None:
    if size.is_gpu:
        devices.limit_memory(1 / (number + 1))

    def ready() -> None:
        (folder / f"{os.getpid()}.ready").touch()
        while len(list(folder.glob("*.ready"))) < number:
            time.sleep(0.05)

    print(images_a_second(BASELINE, replace(size, seconds=seconds), ready))


class _Enough(Exception):
    """Time is up."""


def images_a_second(recipe: Recipe, size: Size, ready: Callable[[], None] = lambda: None) -> float:
    """Of one training for `size.seconds`, after an epoch that warms up and after `ready`."""
    began, trained = 0.0, 0

    def count(training: Training) -> None:
        nonlocal trained
        trained = ((training.epoch - 2) * training.steps + training.step) * recipe.batch_size
        if training.epoch > 1 and time.perf_counter() - began > size.seconds:
            raise _Enough

    training = Training(
        recipe.with_fields({"epochs": 10_000}), made_images(size.few), device=size.device, after_step=count
    )
    iterator = iter(training)
    next(iterator)
    ready()
    began = time.perf_counter()
    with contextlib.suppress(_Enough):
        for _ in iterator:
            pass
    size.wait()
    return trained / (time.perf_counter() - began)


# Name -> what it does, and after how many seconds it is given up.
PARTS: dict[str, tuple[Callable[[Size], dict[str, Any]], float]] = {
    "machine": (machine, 60),
    "steps": (steps, 60),
    "precision": (precision, 60),
    "twice": (twice, 90),
    "resume": (resume, 60),
    "waiting": (waiting, 60),
    "memory": (memory, 60),
    "out_of_memory": (out_of_memory, 60),
    "quarters": (quarters, 90),
    "kernels": (kernels, 60),
    "epochs": (epochs, 120),
    "graph": (graph, 60),
    "packing": (packing, 120),
    "mps": (mps, 60),
    "study": (study, 150),
}


def run_part(name: str, seconds: float, more: Sequence[str]) -> dict[str, Any]:
    """What the part said, in a process of its own, which is killed with all that it started after `seconds`."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *more]
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True) as process,
    ):
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return {"passed": False, "failed": f"not done after {seconds:.0f} s"}
        errors.seek(0)
        lines = said.strip().splitlines()
        if process.returncode or not lines:
            return {"passed": False, "failed": errors.read()[-2000:].strip(), "exit": process.returncode}
    return {**json.loads(lines[-1]), "took_seconds": round(time.perf_counter() - began, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description="What a GPU does with this suite: correctness, then speed.")
    parser.add_argument("--dry-run", action="store_true", help="in small, on a CPU, to see that it runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--neighbour", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size = DRY if arguments.dry_run else FULL
    if arguments.neighbour is not None:
        folder, number, seconds = arguments.neighbour
        be_a_neighbour(size, Path(folder), int(number), float(seconds))
        return 0
    if arguments.part is not None:
        print(json.dumps(PARTS[arguments.part][0](size)))
        return 0
    began, found = time.perf_counter(), dict[str, Any]()
    for name in arguments.parts:
        left = BUDGET - (time.perf_counter() - began)
        if arguments.dry_run:
            found[name] = run_part(name, DRY_PATIENCE * PARTS[name][1], ["--dry-run"])
        elif left > 10:
            found[name] = run_part(name, min(PARTS[name][1], left), [])
        else:
            found[name] = {"passed": False, "failed": "no time was left"}
        arguments.out.write_text(json.dumps({"dry_run": arguments.dry_run, "parts": found}, indent=1))
        print(f"{name}: {json.dumps(found[name])}", flush=True)
        if name == "machine" and not found[name]["passed"]:
            print("torch has no CUDA device here; --dry-run needs none")
            return 1
    return 0 if all(each.get("passed", True) for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
