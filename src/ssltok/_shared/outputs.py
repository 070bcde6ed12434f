"""Where results go: asked before the work, written beside, swapped in whole, by one process."""

import contextlib
import errno
import os
import pathlib
import re
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import BinaryIO

__all__ = [
    "LITTER",
    "LOCK",
    "check_free",
    "check_output",
    "locked",
    "made_folder",
    "new_file",
    "new_folder",
    "temporary_beside",
    "uninterrupted",
    "workplace",
]

LITTER = re.compile(r"\.tmp-.+-[0-9a-f]{32}")
"""Names of what a killed process may leave: those of `temporary_beside`, and no others."""
LOCK = "lock"
PROBE = 4096  # bytes: a file system that is full still makes empty files
GRACE = 8.0  # seconds in which the children of a killed process leave its lock
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}


def temporary_beside(path: pathlib.Path) -> pathlib.Path:
    """A name in the folder of `path` that nothing else has."""
    return path.parent / f".tmp-{path.name}-{uuid.uuid4().hex}"


def check_output(who: str, path: str | os.PathLike[str], *, name: str = "out") -> None:
    """Ask whether a file or folder can be written at `path`, which need not exist.

    A few bytes are written in the nearest folder that exists, and removed again.

    Args:
        who: Who asks, for the error's text.
        path: Where a result will go.
        name: What the caller calls it.

    Raises:
        NotADirectoryError: If it lies below a file.
        OSError: If nothing can be written there: no permission, no space, a path too long.
    """
    final = pathlib.Path(path).absolute()
    place = final.parent
    with _told(who, name, path):
        while not os.path.lexists(place):
            place = place.parent
        if not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(place))
        if len(os.fsencode(final.name)) + 38 > os.pathconf(place, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, "its name is too long")
        probe = temporary_beside(place / "probe")
        try:
            with open(probe, "xb") as stream:
                stream.write(bytes(PROBE))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            probe.unlink(missing_ok=True)


def check_free(who: str, folder: pathlib.Path, needed: int, what: str) -> None:
    """Ask whether a disk has room.

    Args:
        who: Who asks, for the error's text.
        folder: Where; it need not exist.
        needed: Bytes.
        what: What they are for.

    Raises:
        OSError: If there is less.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise OSError(
            f"{who}: the disk must have room for {what}, {_mebibytes(needed)}; "
            f"got {_mebibytes(free)} free in {place}"
        )


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Write a file beside its place and swap it in at the end; on an error nothing has changed.

    Args:
        path: Where; a file that is there is replaced.

    Yields:
        A stream for the bytes.
    """
    final = pathlib.Path(path).resolve()
    temporary = temporary_beside(final)
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Fill a folder beside its place and swap it in at the end; on an error there is none.

    Args:
        path: Where; it must not exist.

    Yields:
        The folder to fill.
    """
    final = pathlib.Path(path).absolute()
    temporary = temporary_beside(final)
    with made_folder(final.parent):
        try:
            temporary.mkdir()
            yield temporary
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until a few renames are done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {
        number: signal.signal(number, lambda arrived, _: waiting.append(arrived))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not None
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


@contextlib.contextmanager
def made_folder(folder: pathlib.Path) -> Iterator[None]:
    """Make a folder and its parents; those that are still empty at the end go again."""
    missing = []
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing.append(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for place in missing:
            try:
                place.rmdir()
            except OSError:  # something was written: it stays
                break


@contextlib.contextmanager
def workplace(who: str, folder: pathlib.Path) -> Iterator[None]:
    """Make a folder, and keep other processes out of it; it is not left behind empty.

    Args:
        who: Who works there, for the error's text.
        folder: Where; parents are made too.

    Raises:
        BlockingIOError: If another process is at work there.
    """
    with made_folder(folder), locked(who, folder):
        yield


@contextlib.contextmanager
def locked(who: str, folder: pathlib.Path) -> Iterator[None]:
    """Hold a folder's lock, which the system lets go of when the process dies.

    Args:
        who: Who works there, for the error's text.
        folder: Where; it must exist.

    Raises:
        BlockingIOError: If another process holds it.
    """
    import fcntl

    path, until, lifted = folder / LOCK, time.monotonic() + GRACE, True
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 400).decode(errors="replace")
            os.close(handle)
            if _is_dead(owner) and time.monotonic() < until:
                time.sleep(0.2)
                continue
            raise BlockingIOError(
                f"{who}: one process must work in a folder at a time; "
                f"got {owner.strip() or 'another process'} at work in {folder}"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(handle)
                raise
            lifted = False  # a file system without locks: nothing to wait for
        if not lifted or _same_file(handle, path):
            break
        os.close(handle)  # the process before removed it between our two calls
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _same_file(handle: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _is_dead(owner: str) -> bool:
    """Whether the process that wrote this lived on this machine and is gone."""
    match = re.fullmatch(r"process (\d+) on (.+)\n", owner)
    if match is None or match[2] != socket.gethostname():
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


@contextlib.contextmanager
def _told(who: str, name: str, path: str | os.PathLike[str]) -> Iterator[None]:
    """Say who asked for what where the system refuses."""
    try:
        yield
    except (NotADirectoryError, FileExistsError) as error:
        raise NotADirectoryError(
            f"{who}: {name} must not lie below a file; got {os.fspath(path)}"
        ) from error
    except OSError as error:
        raise type(error)(
            f"{who}: {name} must be a place that can be written; got {os.fspath(path)} "
            f"({error.strerror})"
        ) from error


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
