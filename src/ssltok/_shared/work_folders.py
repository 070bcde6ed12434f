"""Checkpoints on disk: which of a folder's entries are ours, by name and by content."""

import contextlib
import json
import pathlib
import re
import shutil

from ssltok._shared.outputs import temporary_beside
from ssltok._shared.storage import FORMAT, MANIFEST, remove_litter

__all__ = [
    "clear_work",
    "has_checkpoints",
    "is_checkpoint",
    "list_checkpoints",
    "remove_checkpoint",
]

STEP = re.compile(r"step_\d{8,}")
STATE = {"state.json", "state.safetensors"}
EVENTS = re.compile(r"events\.out\.tfevents\..+")
STAGES = ("tokenizer", "prior")


def list_checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """Checkpoints of a stage, oldest first, damaged ones too; what is not ours is left out."""
    entries = list(folder.iterdir()) if folder.is_dir() else []
    checkpoints = [entry for entry in entries if is_checkpoint(entry)]
    return sorted(checkpoints, key=lambda entry: int(entry.name.removeprefix("step_")))


def is_checkpoint(entry: pathlib.Path) -> bool:
    """Whether this is a checkpoint of this format, whole or damaged.

    It has our name, holds our files and no others, and its manifest, where that can still be
    read, is of this format.
    """
    if not STEP.fullmatch(entry.name) or entry.is_symlink() or not entry.is_dir():
        return False
    files = list(entry.iterdir())
    names = {file.name for file in files}
    plain = all(file.is_file() and not file.is_symlink() for file in files)
    if not plain or not names & STATE or not names <= STATE | {MANIFEST}:
        return False
    if MANIFEST not in names:
        return True
    try:
        manifest = json.loads((entry / MANIFEST).read_bytes())
        return bool(manifest["format"] == FORMAT and set(manifest["files"]) == STATE)
    except (ValueError, RecursionError):
        return True  # ours by its names, and damaged
    except (TypeError, KeyError):
        return False


def remove_checkpoint(entry: pathlib.Path) -> None:
    """Remove a checkpoint; a kill amid it leaves litter, and nothing that looks like one."""
    aside = temporary_beside(entry)
    entry.rename(aside)
    shutil.rmtree(aside)


def has_checkpoints(folder: pathlib.Path) -> bool:
    """Whether a run can go on from here."""
    return any(list_checkpoints(folder / stage) for stage in STAGES)


def clear_work(folder: pathlib.Path) -> None:
    """Remove checkpoints and curves of both stages, and nothing else; empty folders go too."""
    for stage in STAGES:
        remove_litter(folder / stage, names=STEP.pattern)
        for entry in list_checkpoints(folder / stage):
            remove_checkpoint(entry)
        curves = folder / "tensorboard" / stage
        for entry in curves.iterdir() if curves.is_dir() else ():
            if EVENTS.fullmatch(entry.name) and entry.is_file():
                entry.unlink()
        remove_empty(curves)
        remove_empty(folder / stage)
    remove_empty(folder / "tensorboard")
    remove_empty(folder)


def remove_empty(folder: pathlib.Path) -> None:
    """Remove a folder that holds nothing; leave any other."""
    with contextlib.suppress(OSError):
        folder.rmdir()
