"""Decoded images are kept, and are the same whoever decodes them; nothing of the decoding is left behind."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from study.data import DataOptions
from study.data.sources import decode
from study.data.sources.decode import shown
from study.data.sources.huggingface import ShardSources
from study.data.sources.labelled import Files
from study.decoding import FileSource, Target
from study.errors import DataError


def encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def files(folder: Path, count: int = 5) -> Files:
    for number in range(count):
        if not (folder / f"{number}.png").exists():
            (folder / f"{number}.png").write_bytes(encoded(Image.new("L", (8, 8), 10 * number % 256), "PNG"))
    return Files(FileSource.of(folder / f"{number}.png", f"{number}.png") for number in range(count))


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = DataOptions(tmp_path / "data")
    first = decode.decode(files(tmp_path), options)
    monkeypatch.setattr(FileSource, "read", lambda self: pytest.fail("read"))
    again = decode.decode(files(tmp_path), options)
    assert again.file == first.file
    assert np.fromfile(again.file, np.uint8).reshape(again.shape)[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40]


def test_a_changed_file_is_decoded_anew_and_one_that_only_moved_in_time_is_found_by_its_content(tmp_path: Path) -> None:
    options = DataOptions(tmp_path / "data")
    first = decode.decode(files(tmp_path), options)
    os.utime(tmp_path / "3.png", ns=(0, 0))
    assert decode.decode(files(tmp_path), options).file == first.file
    (tmp_path / "3.png").write_bytes(encoded(Image.new("L", (8, 8), 99), "PNG"))
    changed = decode.decode(files(tmp_path), options)
    assert changed.file != first.file
    assert np.fromfile(changed.file, np.uint8).reshape(changed.shape)[3].mean() == 99


def test_a_truncated_cache_is_made_anew(tmp_path: Path) -> None:
    options = DataOptions(tmp_path / "data")
    first = decode.decode(files(tmp_path), options)
    first.file.write_bytes(b"short")
    assert decode.decode(files(tmp_path), options).file.stat().st_size == 5 * 64


def test_a_file_that_changes_while_it_is_read_is_unreadable(tmp_path: Path) -> None:
    listed = files(tmp_path)
    (tmp_path / "1.png").write_bytes(b"another content")
    (tmp_path / "2.png").unlink()
    found = decode.decode(listed, DataOptions(tmp_path / "data"))
    assert found.unreadable == (("1.png", "changed while it was read"), ("2.png", "no such file"))
    assert found.kept.tolist() == [True, False, False, True, True]


def test_a_pipe_does_not_make_the_reader_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    found = decode.decode(files(tmp_path), DataOptions(tmp_path / "data"))
    assert found.unreadable == (("1.png", "not a file"),)


@pytest.mark.parametrize(
    ("sizes", "mode", "image_size", "target"),
    [
        ([(30, 20), (30, 20)], "L", None, Target(20, 30, 1)),
        ([(30, 20), (20, 30)], "RGB", None, Target(64, 64, 3)),
        ([(97, 97), (97, 97)], "RGB", None, Target(64, 64, 3)),
        ([(30, 20), (30, 20)], "RGB", 48, Target(48, 48, 3)),
    ],
)
def test_the_size_is_the_images_own_where_all_share_a_small_one(
    tmp_path: Path, sizes: list[tuple[int, int]], mode: str, image_size: int | None, target: Target
) -> None:
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.png").write_bytes(encoded(Image.new(mode, size), "PNG"))
    assert decode.choose_target(files(tmp_path, len(sizes)), DataOptions(image_size=image_size)) == target


def test_a_name_is_shown_on_one_line_whatever_is_in_it() -> None:
    assert shown("a\nb") == "a\\nb"
    assert shown("Ünïcode 猫") == "Ünïcode 猫"
    assert shown(b"\xff.png".decode("utf-8", "surrogateescape")) == "\\udcff.png"
    assert len(shown("x" * 300)) == 120


# The size of all images is guessed from the first ones


@pytest.mark.parametrize(
    ("last", "shape"),
    [
        (Image.new("L", (8, 8), 1), (41, 8, 8, 1)),
        (Image.new("RGB", (8, 8), (1, 2, 3)), (41, 8, 8, 3)),
        (Image.new("L", (9, 8), 1), (41, 64, 64, 1)),
        (Image.new("RGB", (9, 8), (1, 2, 3)), (41, 64, 64, 3)),
    ],
)
def test_one_image_unlike_the_first_ones_counts_for_the_size_of_all(
    tmp_path: Path, last: Image.Image, shape: tuple[int, int, int, int]
) -> None:
    files(tmp_path, 40)
    (tmp_path / "40.png").write_bytes(encoded(last, "PNG"))
    found = decode.decode(files(tmp_path, 41), DataOptions(tmp_path / "data"))
    assert found.shape == shape
    images = np.fromfile(found.file, np.uint8).reshape(shape)
    assert (images[39] == 390 % 256).all()
    assert np.array_equal(images[40], images[40, :1, :1] * np.ones((*shape[1:3], 1), np.uint8))
    assert images[40, 0, 0].tolist() == ([1, 2, 3] if last.mode == "RGB" else [1] * shape[3])


def test_an_image_that_cannot_be_read_does_not_count_for_the_size_of_all(tmp_path: Path) -> None:
    whole = encoded(Image.effect_noise((50, 50), 90).convert("RGB"), "PNG")
    (tmp_path / "0.png").write_bytes(whole[: len(whole) // 2])
    found = decode.decode(files(tmp_path), DataOptions(tmp_path / "data"))
    assert found.shape == (4, 8, 8, 1)


def test_where_no_image_can_be_read_the_reason_of_the_first_is_given(tmp_path: Path) -> None:
    listed = Files(FileSource.of(tmp_path / name, name) for name in ("a.png", "b.png"))
    with pytest.raises(
        DataError, match=r"none of the training images can be read; the first is a.png \(no such file\)"
    ):
        decode.decode(listed, DataOptions(tmp_path / "data"))


# Processes, threads, or one thread


def use_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "PROCESSES_FROM", 0)
    monkeypatch.setattr(decode, "PROCESSES_FROM_THREADS", 0)
    monkeypatch.setattr(decode, "LARGEST_BATCH", 3)  # so that there are many, and the last is smaller


def use_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "THREADS_FROM", 0)
    monkeypatch.setattr(decode, "LARGEST_BATCH", 3)


def use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "THREADS_FROM", 1e9)


WAYS: list[Callable[[pytest.MonkeyPatch], None]] = [use_processes, use_threads, use_one_thread]


def mixed_images(count: int) -> Iterator[tuple[str, bytes]]:
    """Images of several formats, sizes and treatments; each seventh is damaged."""
    random = np.random.default_rng(0)
    for number in range(count):
        height, width = random.integers(5, 40, 2).tolist()
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        content = encoded(image.quantize(16), "PNG") if number % 3 else encoded(image, "JPEG")
        yield f"{number:03}.png", content[:60] if number % 7 == 5 else content


@pytest.mark.parametrize("layout", ["files", "shards"])
def test_images_reasons_and_order_are_the_same_whoever_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    images = list(mixed_images(60))
    if layout == "files":
        for name, content in images:
            (tmp_path / name).write_bytes(content)
        sources: decode.Sources = Files(FileSource.of(tmp_path / name, name) for name, _ in images)
    else:
        column = pa.array([{"bytes": content, "path": name} for name, content in images])
        pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
        sources = ShardSources([tmp_path / "a.parquet"], "image", np.arange(60) % 10 != 0)
    found = []
    for number, way in enumerate(WAYS):
        with monkeypatch.context() as patch:
            way(patch)
            found.append(decode.decode(sources, DataOptions(tmp_path / f"data{number}")))
    kept = [number % 7 != 5 for number in range(60) if layout == "files" or number % 10 != 0]
    for each in found:
        assert each.kept.tolist() == kept
        assert each.file.read_bytes() == found[0].file.read_bytes()
        assert each.file.name == found[0].file.name  # which has the digest of all content
        assert (each.shape, each.unreadable, each.treatments, each.sizes) == (
            (sum(kept), 64, 64, 3), found[0].unreadable, found[0].treatments, found[0].sizes,
        )  # fmt: skip
    last = decode.decode_batch(list(sources)[-1:], Target(64, 64, 3), touched(tmp_path / "one"), 0)
    assert last.kept == [True]
    assert found[0].file.read_bytes()[-64 * 64 * 3 :] == (tmp_path / "one").read_bytes()


def touched(file: Path) -> Path:
    file.touch()
    return file


def decoding_processes() -> list[list[str]]:
    """Python's and loky's trackers of semaphores are left out: they end with this process."""
    lines = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    return [line for line in lines if "popen_loky_posix" in " ".join(line)]


def test_no_process_is_left_when_the_images_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_processes(monkeypatch)
    counts = []

    class Watched(Files):
        def __iter__(self) -> Iterator[FileSource]:
            for file in super().__iter__():
                counts.append(len(decoding_processes()))
                yield file

    decode.decode(Watched(files(tmp_path, 40)), DataOptions(tmp_path / "data"))
    assert max(counts) == len(os.sched_getaffinity(0))
    assert decoding_processes() == []
    assert list(Path("/dev/shm").glob(f"*loky-{os.getpid()}*")) == []


def test_few_images_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", lambda *_, **__: pytest.fail("started"))
    assert decode.decode(files(tmp_path, 40), DataOptions(tmp_path / "data")).shape[0] == 40


def test_a_daemon_which_may_start_no_process_decodes_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_processes(monkeypatch)
    monkeypatch.setattr(decode, "current_process", lambda: SimpleNamespace(daemon=True))
    monkeypatch.setattr("joblib.externals.loky.ProcessPoolExecutor", lambda *_, **__: pytest.fail("started"))
    assert decode.decode(files(tmp_path, 40), DataOptions(tmp_path / "data")).shape[0] == 40


def test_a_process_that_is_killed_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_processes(monkeypatch)
    listed = files(tmp_path, 40)
    listed[20] = SimpleNamespace(name="20.png", path="20.png", size=1, modified=1, read=partial(os._exit, 1))  # type: ignore[call-overload]
    with pytest.raises(DataError, match="a process that decodes images was killed"):
        decode.decode(listed, DataOptions(tmp_path / "data"), Target(8, 8, 1))
    assert decoding_processes() == []
    assert list((tmp_path / "data" / "decoded").iterdir()) == []


def test_only_a_few_images_are_under_way_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_threads(monkeypatch)
    under_way, most = [0], [0]

    class Counted(Files):
        def __iter__(self) -> Iterator[FileSource]:
            for file in super().__iter__():
                under_way[0] += 1
                yield file

        def fingerprint(self) -> str:
            return "without iterating"

    read = FileSource.read

    def counted_read(self: FileSource) -> bytes:
        most[0] = max(most[0], under_way[0])
        under_way[0] -= 1
        return read(self)

    monkeypatch.setattr(FileSource, "read", counted_read)
    decode.decode(Counted(files(tmp_path, 200)), DataOptions(tmp_path / "data"), Target(8, 8, 1))
    batches = 2 * len(os.sched_getaffinity(0)) + 1
    assert decode.TIMED <= most[0] <= decode.TIMED + 3 * batches


# A user's script

SCRIPT = """
import sys
from pathlib import Path

from study import data
from study.data.sources import decode

print("begins", flush=True)
decode.PROCESSES_FROM = decode.PROCESSES_FROM_THREADS = 0
folder = Path({folder!r})
dataset = data.load(str(folder / "images"), data.DataOptions(folder / "data"), report=lambda line: None)
print(dataset.training.images.shape, "joblib.externals.loky" in sys.modules)
"""
NOTEBOOK = "import sys; exec(compile(sys.stdin.read(), '<cell>', 'exec'), globals())"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["script.py"], ["-"], ["-c", NOTEBOOK]], ids=["file", "stdin", "notebook"])
def test_a_script_needs_no_guard(tmp_path: Path, arguments: list[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        files(tmp_path / "images" / name, 30)
    script = SCRIPT.format(folder=str(tmp_path))
    (tmp_path / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, *arguments], input=script, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("begins\n(48, 8, 8, 1) True\n", "")


ENDLESS = """
import time
from pathlib import Path

from study.data import DataOptions
from study.data.sources import decode
from study.decoding import BytesSource, Target

decode.PROCESSES_FROM = decode.PROCESSES_FROM_THREADS = 0
folder = Path({folder!r})


class Endless:
    def __len__(self):
        return 1_000_000

    def __iter__(self):
        for number in range(len(self)):
            if number == 10_000:
                print("under way", flush=True)
            yield BytesSource(str(number), (folder / "0.png").read_bytes())

    def fingerprint(self):
        return "endless"


try:
    decode.decode(Endless(), DataOptions(folder / "data"), Target(8, 8, 1))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_ends_everything_at_once(tmp_path: Path) -> None:
    files(tmp_path, 1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS.format(folder=str(tmp_path))],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # with a process group of its own, all of which a terminal's Ctrl-C reaches
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n"
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=60) == ("interrupted\n", "")
    assert len(children) > len(os.sched_getaffinity(0))  # the trackers are among them
    assert psutil.wait_procs(children, timeout=30)[1] == []
    assert list((tmp_path / "data" / "decoded").iterdir()) == []
