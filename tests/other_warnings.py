"""Warnings of other people's libraries, which are no errors of ours."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def other_peoples_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
