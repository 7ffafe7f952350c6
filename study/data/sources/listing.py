"""A listing of image files: CSV or Parquet, one row an image.

    path,label[,split][,group]

Paths are relative to the listing's folder, or absolute. `split` is train, validation or test; without it a test set is
set aside. Images of one `group` (a patient, a camera) never come into two splits. Rows keep their order.
"""

from pathlib import Path

import numpy as np
import pandas as pd

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


def load(listing: Path, options: DataOptions, report: Report) -> Dataset:
    """Raises DataError where the listing cannot be read, lacks a column or a value, or an image cannot be read."""
    return make_dataset(str(listing), find(listing), options, report)


def find(listing: Path) -> LabelledImages:
    """The images that the listing names, none of which is opened.

    Raises:
        DataError: it cannot be read, or lacks a column or a value.
    """
    table = _table(listing)
    for column in ("path", "label"):
        if column not in table:
            raise DataError(f"{listing} has no column {column}; its columns are {some(list(table.columns))}")
    for column in table.columns.intersection(["path", "label", "split", "group"]):
        empty = np.flatnonzero(table[column].str.strip() == "")
        if len(empty):
            # A spreadsheet counts from 1 and has the header in its first row.
            raise DataError(f"{listing} has no {column} in {len(empty)} rows, first in row {empty[0] + 2}")
    if table.empty:
        raise DataError(f"{listing} has no rows")
    labels = table["label"].map(class_name)
    names = class_order(labels)
    label_of = {name: label for label, name in enumerate(names)}
    files = [FileSource.of(listing.parent / path, path) for path in table["path"]]
    return LabelledImages(
        lambda chosen: Files(files[number] for number in np.flatnonzero(chosen)),
        np.array([label_of[label] for label in labels], np.int64),
        _parts(table, listing),
        tuple(names),
        pd.factorize(table["group"])[0].astype(np.int64) if "group" in table else None,
    )


def _table(listing: Path) -> pd.DataFrame:
    """All cells as text."""
    try:
        if listing.suffix.lower() == ".csv":
            return pd.read_csv(listing, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig")
        found = pd.read_parquet(listing)
        return found.astype(str).where(found.notna(), "")
    except OSError as error:
        raise DataError(f"{shown(str(listing))} cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        # pandas' parser errors and pyarrow's ArrowInvalid are ValueErrors, as is text that is no UTF-8.
        raise DataError(f"{shown(str(listing))} cannot be read: {' '.join(str(error).split())}") from None


def _parts(table: pd.DataFrame, listing: Path) -> "np.ndarray[tuple[int], np.dtype[np.str_]]":
    if "split" not in table:
        return np.full(len(table), TRAIN)
    found = table["split"].str.strip().str.lower()
    strange = sorted(set(found) - set(PARTS))
    if strange:
        raise DataError(f"{listing} has the split {some(strange)}; allowed: train, validation, test")
    return found.map(PARTS).to_numpy(str)
