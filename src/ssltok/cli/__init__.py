"""The command `ssltok`; `python -m ssltok` is the same."""

from ssltok.cli._main import main

__all__ = ["main"]
