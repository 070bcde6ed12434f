"""The command's door: a missing extra is one line, and so is whatever a user can mend."""

import sys
from collections.abc import Sequence

import ssltok

__all__ = ["main"]

MISSING = 3  # the status where an optional package is missing
EXTRA = ("matplotlib", "tyro")  # of the extra, beside those that ssltok.pipelines asks for
REFUSED = 2  # the status where something that the user gave cannot be used


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: Words after `ssltok`; None takes them from the process.

    Raises:
        SystemExit: With status 2 where something given cannot be used, 3 where an optional
            package is missing.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"ssltok {ssltok.__version__}")
        return
    try:
        from ssltok.cli._commands import run_command
    except ImportError as error:
        _leave(_said(error), MISSING)
    try:
        run_command(words)
    except (ValueError, TypeError, OSError) as error:
        _leave(error, REFUSED)
    except ImportError as error:
        _leave(_said(error), MISSING)


def _said(error: ImportError) -> ImportError:
    """The error, with what to install where it does not say so itself."""
    if error.name not in EXTRA:
        return error
    return ImportError(f"needs {error.name}; install it with: pip install 'ssltok[pipelines]'")


def _leave(error: Exception, status: int) -> None:
    print(f"ssltok: {error}", file=sys.stderr)
    raise SystemExit(status) from error
