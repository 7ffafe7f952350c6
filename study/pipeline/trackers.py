"""The trackers of `--log-to`: TensorBoard, MLflow and Weights & Biases follow the search while it runs.

Each one gets the events in a thread of its own, so that a server that does not answer keeps nobody waiting. A tracker
is a view: what goes wrong in it is one warning, and `python -m results log RUN --to NAME` logs everything afterwards.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from results import Run
from results.events import Event
from results.loggers import LoggerError, open_logger

SECONDS_TO_FINISH = 120.0  # for artifacts to be uploaded; after that a tracker is left alone
SECONDS_AFTER_SIGNAL = 10.0  # as Kubernetes and Slurm kill a process 30 s after they have asked it to end


class Trackers:
    """Feeds the trackers `names`.

    Args:
        study: the content of study.json.
        warn: takes one line about a tracker that fails. It is called from the tracker's thread.
    """

    def __init__(
        self, names: Sequence[str], run_dir: Path, study: Mapping[str, Any], warn: Callable[[str], None]
    ) -> None:
        self._warn = warn
        self._feeds = {name: _Feed(name, run_dir, dict(study), warn) for name in dict.fromkeys(names)}

    def apply(self, event: Event) -> None:
        """Passes one event of the search, in the order of the event log; the earlier ones too, in a resumed study."""
        for feed in self._feeds.values():
            feed.queue.put(event)

    def finish(self, run: Run, patience: float | None = None) -> None:
        """Passes how the study has ended, and waits until everything is written, `patience` seconds at most."""
        if patience is None:
            patience = SECONDS_TO_FINISH if run.status == "finished" else SECONDS_AFTER_SIGNAL
        for feed in self._feeds.values():
            feed.queue.put(run)
        for name, feed in self._feeds.items():
            feed.thread.join(patience)
            if feed.thread.is_alive():
                self._warn(f"{name} does not answer; afterwards, python -m results log {run.path} --to {name} logs all")


NO_TRACKERS = Trackers((), Path(), {}, lambda line: None)


class _Feed:
    """The thread of one tracker. It does not keep the process alive."""

    def __init__(self, name: str, run_dir: Path, study: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        self.queue: SimpleQueue[Event | Run] = SimpleQueue()
        self._name, self._run_dir, self._study, self._warn = name, run_dir, study, warn
        self.thread = threading.Thread(target=self._follow, name=f"tracker-{name}", daemon=True)
        self.thread.start()

    def _follow(self) -> None:
        try:
            logger = open_logger(self._name, self._run_dir, self._study, self._warn)
        except LoggerError as error:
            self._warn(str(error))
            return
        while isinstance(passed := self.queue.get(), Event):
            logger.apply(passed)
        logger.finish(passed)
