"""For parts that Ray Tune pickles to restore an experiment. A study is resumed from its event log instead."""

from typing import Any


class ProcessLocal:
    """Pickled without its state: it belongs to the process that made it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
