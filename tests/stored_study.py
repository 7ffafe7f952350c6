"""What a database of Optuna's holds, read as its own library reads it."""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from results.optuna_storage import opened


def stored_trials(place: Path | str, name: str | None = None) -> list[FrozenTrial]:
    """The trials of a study, of the only one without `name`, in a file or at a URL."""
    with opened(f"sqlite:///{place}" if isinstance(place, Path) else place) as storage:
        return optuna.load_study(study_name=name, storage=storage).trials
