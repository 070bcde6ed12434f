"""The command's door: a missing extra is one line, and so is whatever a user can mend."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

import ssltok
from ssltok._shared.extras import EXTRA, NAMES
from ssltok.cli._signals import Stop, stoppable

__all__ = ["main"]

FAILED = 1  # the status where training left the numbers
REFUSED = 2  # the status where something that the user gave cannot be used
MISSING = 3  # the status where an optional package is missing
RESUMED = ("run", "fit")  # commands that go on where they were stopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words after `ssltok`; None takes them from the process.

    Raises:
        SystemExit: With status 1 where training has diverged, 2 where something given cannot be
            used, 3 where an optional package is missing, 130 after Ctrl-C, 143 after SIGTERM.

    Example:
        >>> from ssltok.cli import main
        >>> main(["info", "no/such/model"])  # as `ssltok info no/such/model`: it says what is wrong
        Traceback (most recent call last):
        SystemExit: 2
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"ssltok {ssltok.__version__}")
        return
    with stoppable() as stop, _short_warnings():
        try:
            _run(words)
        except KeyboardInterrupt:
            _stopped(stop, words)
        except BaseException:  # libraries turn an interrupt into errors of their own
            if stop.number:
                _stopped(stop, words)
            raise


def _run(words: list[str]) -> None:
    try:
        from ssltok.cli._commands import run_command
    except ImportError as error:
        _leave(_said(error), MISSING)
    try:
        run_command(words)
    except (ValueError, TypeError, OSError) as error:
        _leave(error, REFUSED)
    except FloatingPointError as error:
        _leave(error, FAILED)
    except ImportError as error:
        _leave(_said(error), MISSING)


def _stopped(stop: Stop, words: list[str]) -> None:
    again = "; the same command goes on from there" if words[:1] and words[0] in RESUMED else ""
    if os.environ.get("RANK", "0") == "0":
        print(f"ssltok: stopped by {stop.name}{again}", file=sys.stderr, flush=True)
    raise SystemExit(stop.status) from None


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """A warning is one line too."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"ssltok: {_line(message)}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _said(error: ImportError) -> ImportError:
    """The error, with what to install where it does not say so itself."""
    package = (error.name or "").partition(".")[0]  # a part of a package is not installed alone
    if package not in EXTRA:
        return error
    name, extra = NAMES.get(package, package), EXTRA[package]
    return ImportError(f"needs {name}; install it with: pip install 'ssltok[{extra}]'")


def _leave(error: Exception, status: int) -> None:
    print(f"ssltok: {_line(error)}", file=sys.stderr)
    raise SystemExit(status) from error


def _line(error: object) -> str:
    """What went wrong, in one line, without the system's number for it."""
    if isinstance(error, OSError) and error.strerror and error.errno is not None:
        named = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{named}"
    return " ".join(str(error).split("\n")) or type(error).__name__
