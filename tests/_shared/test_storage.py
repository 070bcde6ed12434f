"""Folders are whole or not there, and what is damaged, foreign or hostile is refused."""

import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
from typing import Any

import pytest
import torch

from ssltok._shared.storage import (
    pack_state,
    read_folder,
    remove_litter,
    unpack_state,
    write_folder,
)
from ssltok.pipelines import ArtifactError

FILES = {"a.json": b'{"x": 1}', "b.bin": bytes(range(256)) * 3}


def test_round_trip(tmp_path: pathlib.Path) -> None:
    folder = write_folder(tmp_path / "deep" / "one", FILES)
    assert read_folder(folder) == FILES
    assert sorted(p.name for p in folder.parent.iterdir()) == ["one"]


def test_state_round_trip() -> None:
    tree: dict[str, Any] = {
        "n": None, "t": (1, 2.5, "x"), "l": [True, float("inf")], "i": {3: torch.arange(4)},
        "w": {"deep": [torch.randn(2, 3, dtype=torch.float64), torch.tensor(True)]},
    }  # fmt: skip
    back = unpack_state("x", pack_state(tree))
    assert back["t"] == (1, 2.5, "x")
    assert back["l"] == [True, float("inf")]
    assert torch.equal(back["i"][3], torch.arange(4))
    assert torch.equal(back["w"]["deep"][0], tree["w"]["deep"][0])
    assert back["w"]["deep"][1].dtype == torch.bool
    with pytest.raises(TypeError, match=r"pack_state: values must be plain; got object"):
        pack_state({"x": object()})
    with pytest.raises(TypeError, match=r"keys must be texts or integers; got \(1,\)"):
        pack_state({(1,): 2})


def test_never_writes_over_anything(tmp_path: pathlib.Path) -> None:
    write_folder(tmp_path / "one", FILES)
    with pytest.raises(FileExistsError, match=r"the folder must not exist; got .*one"):
        write_folder(tmp_path / "one", {"other": b""})
    assert read_folder(tmp_path / "one") == FILES


@pytest.mark.parametrize("failing", ["fsync", "rename"])
def test_a_failed_write_leaves_nothing(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    target: Any = os if failing == "fsync" else pathlib.Path
    monkeypatch.setattr(target, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        write_folder(tmp_path / "one", FILES)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_write_never_shows_under_the_final_name(tmp_path: pathlib.Path) -> None:
    code = (
        "import os, signal, sys;"
        "from ssltok._shared import storage as _storage;"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL);"
        "_storage.write_folder(sys.argv[1], {'a': b'x'})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "one")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "one").exists()
    assert len(list(tmp_path.iterdir())) == 1
    remove_litter(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_every_truncation_and_many_flips_are_seen(tmp_path: pathlib.Path, name: str) -> None:
    folder = write_folder(tmp_path / "one", FILES)
    whole = (folder / name).read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 7)]
    for place in range(0, len(whole), 11):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        damaged.append(bytes(flipped))
    for data in damaged:
        (folder / name).write_bytes(data)
        try:
            # JSON knows several spellings of one value: then what is read must be unchanged.
            assert read_folder(folder) == FILES
            assert json.loads(data) == json.loads(whole)
        except ArtifactError as error:
            assert str(folder) in str(error)  # noqa: PT017
    (folder / name).write_bytes(whole)
    assert read_folder(folder) == FILES


def _with_link(folder: pathlib.Path) -> None:
    (folder / "b.bin").unlink()
    (folder / "b.bin").symlink_to("/etc/passwd")


def _with_folder(folder: pathlib.Path) -> None:
    (folder / "extra").mkdir()


def _with_extra(folder: pathlib.Path) -> None:
    (folder / "extra.pkl").write_bytes(b"x")


def _without_file(folder: pathlib.Path) -> None:
    (folder / "b.bin").unlink()


def _without_manifest(folder: pathlib.Path) -> None:
    (folder / "manifest.json").unlink()


def _other_format(folder: pathlib.Path) -> None:
    said = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**said, "format": 99}))


def _escaping_name(folder: pathlib.Path) -> None:
    said = json.loads((folder / "manifest.json").read_bytes())
    said["files"]["../outside"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(said))


def _huge_manifest(folder: pathlib.Path) -> None:
    (folder / "manifest.json").write_bytes(b"[" * (2**20 + 1))


def _deep_manifest(folder: pathlib.Path) -> None:
    (folder / "manifest.json").write_bytes(b"[" * 100_000)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_with_link, r"b.bin, which is no plain file"),
        (_with_folder, r"extra, which is no plain file"),
        (_with_extra, r"files missing or added: extra.pkl"),
        (_without_file, r"files missing or added: b.bin"),
        (_without_manifest, r"no manifest.json"),
        (_other_format, r"format 99, where this version reads 1"),
        (_escaping_name, r"a manifest.json that was changed"),
        (_huge_manifest, r"a manifest.json of more than 1 MiB"),
        (_deep_manifest, r"manifest.json, which is no JSON"),
    ],
)
def test_refuses(tmp_path: pathlib.Path, harm: Any, said: str) -> None:
    folder = write_folder(tmp_path / "one", FILES)
    harm(folder)
    with pytest.raises(ArtifactError, match=said):
        read_folder(folder)


def test_a_pickle_is_not_opened(tmp_path: pathlib.Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "boom"),))

    bad = {"state.json": b'{"tensor": "t0"}', "state.safetensors": pickle.dumps(Bomb())}
    folder = write_folder(tmp_path / "one", bad)
    with pytest.raises(ArtifactError, match=r"state.safetensors, which is no safetensors file"):
        unpack_state(folder, read_folder(folder))
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    "text",
    ['{"tensor": "t9"}', '{"a": 1, "b": 2}', '{"pairs": 3}', '{"call": ["os.system"]}', "{}"],
)
def test_a_foreign_state_is_refused(text: str) -> None:
    files = {**pack_state({}), "state.json": text.encode()}
    with pytest.raises(ArtifactError, match=r"a state.json of another form"):
        unpack_state("x", files)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(
        ArtifactError, match=r"^nowhere: must be a whole ssltok folder; got no such"
    ):
        read_folder("nowhere")
