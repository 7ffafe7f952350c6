"""Write the winner of a run for use elsewhere, and verify the file:

    python -m study.export runs/NAME --format onnx

onnx and torch-export have the preprocessing in the graph: "images", uint8 [N, H, W, C] with any N, to "probabilities",
float32 [N, classes]. safetensors has the network's weights; its metadata has the recipe, the classes, the images'
spec and the temperature as JSON. No format is pickled. To add one, write its two functions and add it to FORMATS.
"""

import json
import logging
import re
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from io import BytesIO, StringIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from results.formatting import count
from study.command_line import Parser, add_winner_arguments, load_winner, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from study.winner.model import Classifier, Winner

    Predict: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

PROGRAM = "study.export"
IMAGES = 256
# Of a probability. Float32 sums in another order differ by a thousandth of this.
TOLERANCE = 1e-3
LARGE_BATCH = 64
CALLS = 10


@dataclass(frozen=True)
class Exported:
    """A file that was written and run.

    Attributes:
        file, format: where, and which of FORMATS.
        file_bytes: its size.
        largest_difference: of a probability, from `winner.module`, over `images` random images.
        same_class: for how many of them the most probable class is the same.
        difference_from_evaluated: the same largest difference from `winner.predict_proba`, which computes as the
            evaluation on the test set did, at the temperature of the file.
        seconds_batch_1, seconds_batch_64: median time of a call on this CPU, preprocessing included.
        threads: of torch and onnxruntime.
    """

    file: Path
    format: str
    file_bytes: int
    images: int
    largest_difference: float
    same_class: int
    difference_from_evaluated: float
    seconds_batch_1: float
    seconds_batch_64: float
    threads: int


def main(command: Sequence[str] | None = None) -> int:
    """Exports; the exit code is 2 for a wrong input or a network that cannot be exported to the format, else 0."""
    parser = Parser(prog=PROGRAM, description="Write the winner of a run for use elsewhere, and verify the file.")
    add_winner_arguments(parser)
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument("--output", metavar="FILE", help="where to write it (default: RUN/final/winner.*)")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="train once more without validation images; fit a temperature on those",
    )
    parser.add_argument(
        "--data-dir", default="data", metavar="DIR", help="where --calibrate finds the images (default: data)"
    )
    arguments = parser.parse_args(sys.argv[1:] if command is None else list(command))
    return run_command(PROGRAM, lambda: _export(arguments))


def _export(arguments: Namespace) -> int:
    _check_packages(arguments.format)
    winner = load_winner(arguments)
    if arguments.calibrate:
        _calibrate(winner, Path(arguments.data_dir), arguments.trust_code)
    output = arguments.output or winner.run_dir / "final" / f"winner{FORMATS[arguments.format].suffix}"
    _show(export(winner, arguments.format, Path(output)), winner)
    return 0


def _calibrate(winner: "Winner", data_dir: Path, trust_code: bool) -> None:
    from study.api import errors_as_study_errors
    from study.winner import temperature

    with errors_as_study_errors():
        fitted = temperature.of_run(winner, data_dir, trust_code, lambda line: print(line, file=sys.stderr))
    temperature.calibrate(winner, fitted)
    print(
        f"temperature {fitted.temperature:.3f}, fitted on {fitted.validation_images:,} validation images: calibration "
        f"error {fitted.calibration_error_before:.2%} before, {fitted.calibration_error_after:.2%} after; log loss "
        f"{fitted.log_loss_before:.4f} before, {fitted.log_loss_after:.4f} after"
    )


def _check_packages(format: str) -> None:
    """
    Raises:
        UsageError: a package that the format needs is not installed.
    """
    from study.errors import UsageError

    missing = [name for name in FORMATS[format].packages if find_spec(name) is None]
    if missing:
        raise UsageError(f"format {format} needs {', '.join(missing)}; pip install {' '.join(missing)}")


def export(winner: "Winner", format: str, file: Path) -> Exported:
    """Writes the winner to `file` in a format of FORMATS, after comparing the file's predictions with the winner's.

    Raises:
        UsageError: a package that the format needs is not installed, or `file` cannot be written.
        ModelError: the winner is of a trainer of the user's own, it cannot be exported to the format, or what was
            exported predicts otherwise.
    """
    import torch

    from results.calibration import at_temperature
    from study.errors import ModelError, UsageError
    from study.storage.files import atomic_write
    from study.winner.model import Classifier

    if not isinstance(winner.module, Classifier):
        kind = type(winner.trainer).__name__
        raise ModelError(f"the winner of {winner.run_dir} was trained by {kind}, whose network is not known to export")
    _check_packages(format)
    module = deepcopy(winner.module).cpu().to(memory_format=torch.contiguous_format)
    content = FORMATS[format].write(winner, module)
    predict = FORMATS[format].read(content, module)
    temperature = float(module.temperature)
    images = random_images(winner, IMAGES)
    original = _predict_by_module(module)(images)
    try:
        found = predict(images)
    except Exception as error:
        # A network that reads the batch size as a number, such as by len(images), is exported for that number only.
        raise ModelError(
            f"what was exported to {format} cannot predict {IMAGES} images: {' '.join(str(error).split())[:300]}; a "
            "network that reads the batch size by len() needs images.shape[0] in its place"
        ) from None
    difference = float(abs(found - original).max())
    if not difference <= TOLERANCE:
        raise ModelError(f"as {format} the winner predicts otherwise: a probability differs by {difference:.2g}")
    try:
        with atomic_write(file) as opened:
            opened.write(content)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from None
    return Exported(
        file,
        format,
        len(content),
        IMAGES,
        difference,
        int((found.argmax(1) == original.argmax(1)).sum()),
        float(abs(found - at_temperature(winner.predict_batch(images), temperature)).max()),
        _seconds(predict, images[:1]),
        _seconds(predict, images[:LARGE_BATCH]),
        torch.get_num_threads(),
    )


def random_images(winner: "Winner", number: int) -> "NDArray[np.uint8]":
    """Smooth random images like those of the data set in size, brightness and contrast, uint8 [number, H, W, C]."""
    import torch
    from torch.nn.functional import interpolate

    spec = winner.spec
    coarse = torch.randn(number, spec.channels, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels = interpolate(coarse, (spec.height, spec.width), mode="bicubic").permute(0, 2, 3, 1)
    pixels = 255 * (pixels * torch.tensor(spec.std) + torch.tensor(spec.mean))
    images: NDArray[np.uint8] = pixels.round().clamp(0, 255).to(torch.uint8).numpy()
    return images


def _to_onnx(winner: "Winner", module: "Classifier") -> bytes:
    import torch

    from study.errors import ModelError

    try:
        with _silence():
            program = torch.onnx.export(
                module,
                _example(winner),
                dynamo=True,
                input_names=["images"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(f"the network cannot be exported to onnx: {_reason(error)}") from None
    assert program is not None
    program.model.metadata_props["classes"] = json.dumps(winner.classes_.tolist())
    content: bytes = program.model_proto.SerializeToString()
    return content


def _from_onnx(content: bytes, module: "Classifier") -> "Predict":
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _to_torch_export(winner: "Winner", module: "Classifier") -> bytes:
    import torch

    from study.errors import ModelError

    file = BytesIO()
    try:
        with _silence():
            program = torch.export.export(module, _example(winner), dynamic_shapes=({0: torch.export.Dim("batch")},))
            # They would be kept as a pickle.
            program.example_inputs = None
            torch.export.save(program, file, extra_files={"classes.json": json.dumps(winner.classes_.tolist())})
    except Exception as error:
        # A network that cannot be traced raises whatever its own code raises.
        raise ModelError(f"the network cannot be exported to torch-export: {_reason(error)}") from None
    return file.getvalue()


def _from_torch_export(content: bytes, module: "Classifier") -> "Predict":
    import torch

    return _predict_by_module(torch.export.load(BytesIO(content)).module())


def _to_safetensors(winner: "Winner", module: "Classifier") -> bytes:
    from safetensors.torch import save

    metadata = {
        "format": "pt",
        "recipe": json.dumps(winner.recipe.as_dict()),
        "spec": json.dumps(asdict(winner.spec)),
        "classes": json.dumps(winner.classes_.tolist()),
        "temperature": json.dumps(float(module.temperature)),
    }
    # Clones, as the format has no tensors that share memory.
    return save({name: each.clone() for name, each in module.network.state_dict().items()}, metadata)


def _from_safetensors(content: bytes, module: "Classifier") -> "Predict":
    import torch
    from safetensors.torch import load

    restored = deepcopy(module)
    with torch.no_grad():
        for each in restored.network.parameters():
            each.zero_()
    restored.network.load_state_dict(load(content))
    return _predict_by_module(restored)


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        suffix: of its files.
        packages: what must be installed for it.
        write: (winner, a float32 copy of its module on the CPU) -> the content of the file.
        read: (that content, the same module) -> a function that predicts with the content alone.
    """

    suffix: str
    packages: tuple[str, ...]
    write: "Callable[[Winner, Classifier], bytes]"
    read: "Callable[[bytes, Classifier], Predict]"


FORMATS: dict[str, Format] = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), _to_onnx, _from_onnx),
    "torch-export": Format(".pt2", (), _to_torch_export, _from_torch_export),
    "safetensors": Format(".safetensors", ("safetensors",), _to_safetensors, _from_safetensors),
}


def _example(winner: "Winner") -> tuple[Any, ...]:
    """Two images: a batch of one would be taken for a constant."""
    import torch

    return (torch.from_numpy(random_images(winner, 2)),)


def _predict_by_module(module: Any) -> "Predict":
    import torch

    def predict(images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
        with torch.no_grad():
            probabilities: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return probabilities

    return predict


@contextmanager
def _silence() -> Iterator[None]:
    """Tracing prints and logs whole graphs where it fails; the error says enough."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _reason(error: Exception) -> str:
    """One line: the operator that has no equivalent, or the first line of the cause."""
    text = str(error)
    operator = re.search(r"OpOverload\(op='([\w.]+)'", text) or re.search(r"target=torch\.ops\.([\w.]+)", text)
    if operator:
        return f"it has no equivalent of the operator {operator[1]}"
    summary = text.split("## Exception summary")[-1].strip()
    return re.sub(r"<class '[^']*'>: ", "", summary).splitlines()[0][:300] if summary else type(error).__name__


def _seconds(predict: "Predict", images: "NDArray[np.uint8]") -> float:
    took = []
    for _ in range(2 + CALLS):
        started = time.perf_counter()
        predict(images)
        took.append(time.perf_counter() - started)
    return median(took[2:])  # the first ones allocate memory


def _show(exported: Exported, winner: "Winner") -> None:
    one, many = 1000 * exported.seconds_batch_1, 1000 * exported.seconds_batch_64
    print(f"{exported.file}: {exported.format}, {exported.file_bytes:,} bytes")
    print(
        f"largest difference of a probability from the original, over {exported.images} random images: "
        f"{exported.largest_difference:.1e}; the same class for {exported.same_class}"
    )
    if winner.recipe.precision == "bfloat16":
        print(
            "the test set was evaluated in bfloat16, the file computes in float32: largest difference between them "
            f"{exported.difference_from_evaluated:.1e}"
        )
    print(
        f"time on this CPU with {count(exported.threads, 'thread')}: {one:.2f} ms for 1 image, {many:.2f} ms for "
        f"{LARGE_BATCH} ({many / LARGE_BATCH:.3f} ms an image)"
    )


if __name__ == "__main__":
    sys.exit(main())
