"""TensorBoard event files in RUN/logs/tensorboard: `tensorboard --logdir RUN/logs/tensorboard`."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as TensorBoardEvent
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import metadata as hparams_plugin
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS, STATUS_UNKNOWN
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text import metadata as text_plugin
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from results.events import EpochFinished, TrialEnded, TrialStarted
from results.loggers.tracker import measured, settings

_STATUS = {
    "completed": STATUS_SUCCESS,
    "stopped": STATUS_SUCCESS,
    "diverged": STATUS_FAILURE,
    "failed": STATUS_FAILURE,
}


class TensorBoard:
    """One folder of event files per trial, `trial_00007`, and one for the study. Artifacts stay where they are."""

    def __init__(self, run_dir: Path, study: Mapping[str, Any]) -> None:
        self._folder = run_dir / "logs" / "tensorboard"
        # Event files can only be appended to: written anew from the first event, they hold nothing twice.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._trials: dict[int, EventFileWriter] = {}
        self._study = EventFileWriter(str(self._folder / "study"))
        self._settings = settings(study)

    def start_trial(self, event: TrialStarted) -> None:
        if event.number in self._trials:
            return
        name = event.trial_id or f"trial_{event.number:05d}"
        writer = self._trials[event.number] = EventFileWriter(str(self._folder / name))
        drawn = {key: value for key, value in event.config.items() if value is not None}
        _write(writer, hparams_pb(drawn, trial_id=name, start_time_secs=event.time), event.time)

    def log_epoch(self, event: EpochFinished) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in measured(event).items()]
        _write(self._trials[event.number], Summary(value=values), event.time, event.epoch)

    def end_trial(self, event: TrialEnded) -> None:
        status = _STATUS.get(event.status, STATUS_UNKNOWN)
        writer = self._trials.pop(event.number)
        ended = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=event.time))
        about = hparams_plugin.create_summary_metadata(ended)
        value = Summary.Value(
            tag=hparams_plugin.SESSION_END_INFO_TAG, metadata=about, tensor=hparams_plugin.NULL_TENSOR
        )
        _write(writer, Summary(value=[value]), event.time)
        writer.close()

    def finish(self, summary: Mapping[str, Any], numbers: Mapping[str, float], files: Iterable[Path]) -> None:
        rows = [*self._settings.items(), *summary.items(), *((path.name, str(path)) for path in files)]
        words = "\n".join(f"    {name}: {value}" for name, value in rows)  # indented: Markdown shows it as it is
        about = text_plugin.create_summary_metadata(display_name="study", description="")
        shown = TensorProto(dtype=DT_STRING, string_val=[words.encode()])
        _write(self._study, Summary(value=[Summary.Value(tag="study", metadata=about, tensor=shown)]))
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        _write(self._study, Summary(value=values))

    def close(self) -> None:
        for writer in (*self._trials.values(), self._study):
            writer.close()


def _write(writer: EventFileWriter, summary: Summary, time: float = 0.0, step: int = 0) -> None:
    writer.add_event(TensorBoardEvent(wall_time=time, step=step, summary=summary))
