"""Files and folders are written beside and swapped in; a folder has one process at a time."""

import errno
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from typing import Any

import pytest

from ssltok._shared import outputs
from ssltok._shared.outputs import (
    check_output,
    locked,
    new_file,
    new_folder,
    uninterrupted,
    workplace,
)
from ssltok._shared.storage import remove_litter, write_folder


def test_a_file_that_fails_leaves_the_old_one(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x"
    with new_file(path) as stream:
        stream.write(b"one")

    def interrupted() -> None:
        with new_file(path) as stream:
            stream.write(b"two")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["x"]


def test_a_link_keeps_pointing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").write_text("one")
    (tmp_path / "link").symlink_to("x")
    with new_file(tmp_path / "link") as stream:
        stream.write(b"two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "x").read_text() == "two"


def test_a_folder_that_fails_leaves_none_and_no_parents(tmp_path: pathlib.Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "a" / "b") as folder:
            (folder / "x").write_text("x")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fill()
    assert os.listdir(tmp_path) == []


def test_only_litter_of_ours_is_removed(tmp_path: pathlib.Path) -> None:
    mine = [".tmp-mine", ".tmp-x-123", ".tmp-step_1-" + "g" * 32, "tmp-x-" + "0" * 32]
    for name in mine:
        (tmp_path / name).mkdir()
    (tmp_path / (".tmp-x-" + "0" * 32)).mkdir()
    (tmp_path / (".tmp-other-" + "1" * 32)).write_text("x")
    remove_litter(tmp_path, names="x")
    assert sorted(os.listdir(tmp_path)) == sorted([*mine, ".tmp-other-" + "1" * 32])
    remove_litter(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(mine)


@pytest.mark.parametrize("kind", ["below a file", "no folder of the system", "too long a name"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: pathlib.Path, kind: str) -> None:
    (tmp_path / "file").write_text("x")
    path = {
        "below a file": tmp_path / "file" / "a" / "b",
        "no folder of the system": pathlib.Path("/proc/nothing/here"),
        "too long a name": tmp_path / ("x" * 250),
    }[kind]
    with pytest.raises(OSError, match=r"^who: place must .*; got "):
        check_output("who", path, name="place")
    assert os.listdir(tmp_path) == ["file"]


REFUSALS = {"read-only folder": errno.EACCES, "read-only disk": errno.EROFS,
            "not the owner": errno.EPERM, "full": errno.ENOSPC, "quota": errno.EDQUOT}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_place_that_the_system_refuses_is_named(
    kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal is a stand-in, for root writes into read-only folders too."""
    number = REFUSALS[kind]

    def refused(path: Any, *rest: Any) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(outputs, "open", refused, raising=False)
    with pytest.raises(OSError, match=r"^who: out must be a place that can be written") as caught:
        check_output("who", tmp_path / "new" / "x")
    assert os.strerror(number) in str(caught.value)
    with pytest.raises(OSError, match=os.strerror(number)), new_file(tmp_path / "x"):
        pytest.fail("a stream was given")
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; the law is the one above")
def test_a_read_only_folder_is_named(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=r"^who: out must be a place that can be written"):
        check_output("who", tmp_path / "x")
    tmp_path.chmod(0o755)


def hold(folder: str, ready: str) -> None:
    with locked("first", pathlib.Path(folder)):
        pathlib.Path(ready).write_text("x")
        time.sleep(60)


def test_a_second_process_waits_for_nothing_and_a_dead_one_is_no_wall(
    tmp_path: pathlib.Path,
) -> None:
    folder, ready = tmp_path / "work", tmp_path / "ready"
    folder.mkdir()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(folder, ready))
    process.start()
    while not ready.exists():
        time.sleep(0.01)
    with (
        pytest.raises(BlockingIOError, match=rf"^who: one process .*got process {process.pid} on"),
        locked("who", folder),
    ):
        pass
    process.kill()
    process.join()
    assert os.listdir(folder) == ["lock"]
    with workplace("who", folder):
        pass
    assert os.listdir(folder) == []


def test_a_lock_holds_within_a_process_too(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "a" / "b"
    with workplace("one", place), pytest.raises(BlockingIOError), locked("two", place):
        pass
    assert os.listdir(tmp_path) == []


def test_signals_wait_for_the_swap() -> None:
    done = []

    def swap() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        swap()
    assert done == [1]
    thread = threading.Thread(target=lambda: uninterrupted().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_folder_in_the_place_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("x")
    with pytest.raises(FileExistsError):
        write_folder(tmp_path / "x", {"a": b""})
    with pytest.raises(OSError), new_folder(tmp_path / "x"):  # noqa: PT011  the system's own
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["x", "mine"]
