"""A folder of images in ImageFolder's layout.

    train/CLASS/*  test/CLASS/*  optionally validation/CLASS/* (or val)
    CLASS/*        alone; then a test set is set aside

Images are ordered by file name across classes, then by class, so that zero-padded numbers as names restore any order.
Folders inside a class's folder belong to the class.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from study.data.dataset import DataOptions, Dataset, Report
from study.data.sources.decode import shown
from study.data.sources.labelled import (
    PARTS,
    TRAIN,
    Files,
    LabelledImages,
    class_name,
    class_order,
    make_dataset,
    some,
)
from study.decoding import FileSource
from study.errors import DataError

# What file managers leave behind.
CLUTTER = {"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "icon\r"}


def load(root: Path, options: DataOptions, report: Report) -> Dataset:
    """Raises DataError where `root` has no such layout, or an image cannot be read."""
    return make_dataset(str(root), find(root), options, report)


def find(root: Path) -> LabelledImages:
    """The images below `root`, none of which is opened.

    Raises:
        DataError: a folder cannot be listed, is in two layouts at once, or a class has no images.
    """
    # Inside a class folder they come by path below it, which is their name unless folders are nested.
    rows: list[tuple[str, str, str, Path]] = []
    ignored: list[str] = []
    for part, folder in _part_folders(root, ignored):
        for label_folder in _folders(folder, ignored):
            own = [(name, path) for name, path in _images(label_folder, ignored)]
            if not own:
                raise DataError(f"class folder {shown(str(label_folder))} has no images; add some, or remove it")
            rows += [(name, class_name(label_folder.name), part, path) for name, path in own]
    if not rows:
        raise DataError(
            f"{shown(str(root))} has no class folders; images are expected at train/CLASS/*, test/CLASS/*, or CLASS/*"
        )
    rows.sort(key=lambda row: row[:3])
    names = class_order(row[1] for row in rows)
    label_of = {name: label for label, name in enumerate(names)}
    files = [FileSource.of(path, str(path.relative_to(root))) for *_, path in rows]
    return LabelledImages(
        lambda chosen: Files(files[number] for number in np.flatnonzero(chosen)),
        np.array([label_of[row[1]] for row in rows], np.int64),
        np.array([row[2] for row in rows]),
        tuple(names),
        notes=(f"{len(ignored)} ignored, no images by their names or places: {some(ignored)}",) if ignored else (),
    )


def _part_folders(root: Path, ignored: list[str]) -> list[tuple[str, Path]]:
    """The folders of train, validation and test; or `root` itself, as train, where its folders are classes."""
    folders = _folders(root, [])
    given = {folder: PARTS[folder.name.lower()] for folder in folders if folder.name.lower() in PARTS}
    if TRAIN not in given.values():
        if given:
            found = ", ".join(sorted(folder.name for folder in given))
            raise DataError(f"{shown(str(root))} has {found} and no train; give the training images a folder train")
        return [(TRAIN, root)]
    if len(set(given.values())) < len(given):
        raise DataError(f"{shown(str(root))} has two folders for the same split: {some([f.name for f in given])}")
    ignored += [folder.name for folder in folders if folder not in given]
    _folders(root, ignored)
    return [(part, folder) for folder, part in given.items()]


def _folders(folder: Path, ignored: list[str]) -> list[Path]:
    """The folders in `folder` by name; to `ignored` are added the visible files beside them."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{shown(str(folder))} cannot be read: {error.strerror}") from None
    entries = [entry for entry in entries if not _is_clutter(entry.name)]
    ignored += [entry.name for entry in entries if not entry.is_dir()]
    return [Path(entry.path) for entry in entries if entry.is_dir()]


def _images(folder: Path, ignored: list[str]) -> Iterator[tuple[str, Path]]:
    """Path below `folder` and path of each image, also in nested folders; links are followed, but not in loops."""
    known = Image.registered_extensions()
    pending = [(folder, frozenset(map(_identity, (folder, *folder.resolve().parents))))]
    while pending:
        current, above = pending.pop()
        for entry in sorted(os.scandir(current), key=lambda entry: entry.name):
            path = Path(entry.path)
            if _is_clutter(entry.name):
                continue
            if entry.is_dir():
                if _identity(path) not in above:
                    pending.append((path, above | {_identity(path)}))
                else:
                    ignored.append(f"{path.relative_to(folder.parent)} (a link to a folder above it)")
            elif path.suffix.lower() in known:
                yield str(path.relative_to(folder)), path
            else:
                ignored.append(str(path.relative_to(folder.parent)))


def image_files(folder: Path) -> list[Path]:
    """All images in `folder` and in its folders, by path. Raises OSError where one cannot be listed."""
    return [path for _, path in sorted(_images(folder, []))]


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in CLUTTER
