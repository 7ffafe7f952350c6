"""Brings a run here from the store that a cluster wrote it to:

python -m results fetch s3://BUCKET/studies/NAME
"""

import re
import shutil
from pathlib import Path

from results.run import RunError

# What a store holds besides a run's records: Ray's own files, states of trainings, networks that are not evaluated yet,
# hidden files.
NO_RECORD = re.compile(r"(.*/)?(ray|checkpoints)/.*|(.*/)?\d+\.pt|(.*/)?\..*")


def fetch(url: str, runs_dir: Path) -> Path:
    """Copies the run at `url` into `runs_dir`, under its own name; complete or not at all.

    Args:
        url: a folder, or what pyarrow.fs.FileSystem.from_uri takes: s3://bucket/path, gs://bucket/path, with options
            such as ?endpoint_override=host:port&scheme=http. Credentials come from the environment, as the store's own
            tools read them.

    Returns:
        The run's directory.

    Raises:
        RunError: there is no run at `url`, one of its name is in `runs_dir`, or the store does not answer.
    """
    from pyarrow import fs

    place, _, _ = url.partition("?")
    run_dir = runs_dir / place.rstrip("/").rpartition("/")[2]
    if run_dir.exists():
        raise RunError(f"{run_dir} is there already; give another --runs-dir")
    temporary = run_dir.with_name(f".{run_dir.name}.fetched")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        system, path = fs.FileSystem.from_uri(url if "://" in url else str(Path(url).resolve()))
        found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        names = [each.path[len(path) :].lstrip("/") for each in found if each.type == fs.FileType.File]
        if "study.json" not in names:
            raise RunError(f"{place} holds no run (a run has a study.json)")
        for name in names:
            if not NO_RECORD.fullmatch(name):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                with system.open_input_stream(f"{path}/{name}") as source, (temporary / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        temporary.rename(run_dir)
    except (OSError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{place} cannot be fetched: {' '.join(str(error).split())}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return run_dir
