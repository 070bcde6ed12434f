"""Folders on the Hugging Face hub, through `huggingface_hub`; nothing is sent but by choice."""

import os
import pathlib
from typing import Any

from ssltok._shared.extras import need
from ssltok.pipelines._general._files import FILES

__all__ = ["download", "upload"]

OTHERS = ("labels.json", "provenance.json")  # of an artefact of `SSLTokenizer.save`


def download(repository: str, *, revision: str | None, into: pathlib.Path) -> pathlib.Path:
    """Copy a model's files from the hub into a new folder.

    Args:
        repository: `owner/name`.
        revision: A branch, tag or commit; None takes the newest.
        into: A folder that exists; the model's is made inside it.

    Raises:
        ImportError: If `huggingface_hub` is not installed.
        ValueError: If there is no such repository, or it lacks a file.
    """
    hub = _hub()
    folder = into / "model"
    folder.mkdir()
    try:
        names = set(hub.list_repo_files(repository, revision=revision))
        for name in sorted(names & {*FILES, *OTHERS}):
            path = hub.hf_hub_download(repository, name, revision=revision)
            (folder / name).write_bytes(pathlib.Path(path).read_bytes())
    except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"from_pretrained: {repository!r} must be a repository of the hub that can be read; "
            f"got {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    return folder


def upload(folder: pathlib.Path, repository: str, *, private: bool, message: str) -> str:
    """Send a folder to the hub, and return its address.

    Raises:
        ImportError: If `huggingface_hub` is not installed.
    """
    hub = _hub()
    hub.create_repo(repository, exist_ok=True, private=private)
    return str(
        hub.upload_folder(repo_id=repository, folder_path=os.fspath(folder), commit_message=message)
    )


def _hub() -> Any:
    need("from_pretrained", "huggingface_hub.errors")
    return need("from_pretrained", "huggingface_hub")
