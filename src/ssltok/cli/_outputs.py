"""Where commands write: asked before anything is loaded."""

import os
import pathlib

from ssltok._shared.outputs import check_output

__all__ = ["check_new_file", "check_new_folder", "unfinished"]

WORK = {"lock", "prior", "tensorboard", "tokenizer"}
"""What training writes into a folder of checkpoints."""


def check_new_file(
    who: str, out: pathlib.Path, endings: tuple[str, ...], *, overwrite: bool
) -> None:
    """Ask whether a file can be written; a file that is there is replaced only if wanted."""
    if out.suffix not in endings:
        raise ValueError(f"{who}: out must end in {', '.join(endings)}; got {out}")
    if out.is_dir():
        raise ValueError(f"{who}: out must be a file; got the folder {out}")
    if os.path.lexists(out) and not overwrite:
        raise FileExistsError(f"{who}: out must be a new file, or overwrite be given; got {out}")
    if os.path.lexists(out.parent) and not out.parent.is_dir():
        raise ValueError(f"{who}: out must not lie below a file; got {out}")
    if not out.parent.is_dir():
        raise ValueError(f"{who}: out must lie in a folder that exists; got {out}")
    check_output(who, out)


def check_new_folder(who: str, out: pathlib.Path) -> None:
    """Ask whether a folder can be made."""
    if os.path.lexists(out):
        raise FileExistsError(f"{who}: out must be a new folder; got {out}")
    check_output(who, out)


def unfinished(who: str, out: pathlib.Path) -> pathlib.Path:
    """The folder of checkpoints beside `out`: `OUT.unfinished`, if nobody else's is there."""
    folder = out.absolute().with_name(f"{out.absolute().name}.unfinished")
    if os.path.lexists(folder) and not folder.is_dir():
        raise FileExistsError(
            f"{who}: {folder} must be a folder of checkpoints; got something else"
        )
    foreign = sorted(set(os.listdir(folder)) - WORK) if folder.is_dir() else []
    if foreign:
        raise FileExistsError(
            f"{who}: {folder} must hold checkpoints alone; got {', '.join(foreign[:3])}"
        )
    return folder
