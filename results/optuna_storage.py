"""An SQL database of Optuna's, opened and closed again."""

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.storages import RDBStorage


@contextmanager
def opened(url: str) -> Iterator[RDBStorage]:
    """The storage at `url`; at the end its connections are closed, which Optuna leaves open."""
    storage = RDBStorage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
