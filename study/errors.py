"""The errors that a user can fix. Each message is one line that says what was given and what is allowed.

The command lines print it and exit with 2 (bad input) or 1 (the study failed); from Python it is raised.
"""


class StudyError(Exception):
    """The base class of all errors that `study` raises on purpose."""


class UsageError(StudyError):
    """A setting, or a combination of settings, that is not allowed."""


class RecipeError(StudyError, ValueError):
    """A field that no Recipe has, or a value that its field does not allow."""


class DataError(StudyError):
    """A data set that cannot be used."""


class ModelError(StudyError):
    """A network or a trainer that cannot be loaded, built or trained."""


class WeightsError(ModelError):
    """Pretrained weights that are neither in the cache nor can be downloaded."""


class UserCodeError(StudyError):
    """Code that a run brings along and that is not executed before the user has said so, or that has changed."""


class EventLogError(StudyError):
    """A run directory whose records cannot be continued."""


class ResourceError(StudyError):
    """Compute that was asked for and that no node has."""


class ClusterError(StudyError):
    """A Ray cluster, or a store, that a study cannot use."""


class StoreError(StudyError, OSError):
    """A store that cannot be reached, or that refuses."""


class StudyFailed(StudyError):
    """The study began and cannot continue; what was finished is in its run directory.

    Attributes:
        resumable: whether resuming may help. It does not where the same error would come again.
    """

    def __init__(self, message: str, *, resumable: bool = True) -> None:
        super().__init__(message)
        self.resumable = resumable


class StudyInterrupted(StudyError):
    """A signal stopped a study cleanly. It can be resumed.

    Attributes:
        signal_number: such as signal.SIGTERM.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
