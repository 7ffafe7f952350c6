"""wandb's offline files, read back."""

import json
from pathlib import Path

from other_warnings import other_peoples_warnings


def history(folder: Path) -> list[dict[str, float]]:
    """The rows of an offline run: a file of LevelDB's log format, small enough for one block, of wandb's records."""
    with other_peoples_warnings():
        from wandb.proto.wandb_internal_pb2 import Record
    content = next(folder.glob("*.wandb")).read_bytes()
    at, rows = 7, []  # after the file's header
    while at + 7 <= len(content):
        length = int.from_bytes(content[at + 4 : at + 6], "little")
        record = Record.FromString(content[at + 7 : at + 7 + length])
        at += 7 + length
        items = record.history.item
        rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return [row for row in rows if "val_accuracy" in row]
