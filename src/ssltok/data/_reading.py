"""How a file is to be read: what a column is, and what a row is."""

import dataclasses
from typing import Any, Literal

__all__ = ["Reading"]

Layout = Literal["series_in_rows", "time_in_rows", "long", "channels_first", "channels_last"]
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What pandas takes for a missing value; `Reading.missing` adds to it."""
ARRAYS = ("channels_first", "channels_last")
CHOICES = ("series_in_rows", "time_in_rows", "long", *ARRAYS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What the rows and columns of a file are, where the file itself does not say it.

    A column is meant by its name or, in a table without a header, by its place: `"0"` is the
    first, `"-1"` the last. `""` says that there is no such column, where one would be found by
    its name. The words of the command are the same: `--layout time_in_rows --label ""`.

    Raises:
        ValueError: If an option is out of range, or a column has two meanings.

    Example:
        >>> from ssltok.data import Reading
        >>> Reading(layout="time_in_rows", missing=("-999",)).changed()
        ['layout', 'missing']
    """

    layout: Layout | None = None
    """What a row is: a series, a time, or one value (long). Of arrays of three axes: which of the
    last two is channels; the other is time."""
    time: str | None = None
    """The column of times."""
    time_format: str | None = None
    """How times are written, such as %d/%m/%Y %H:%M."""
    id: str | None = None
    """The column that says which series a row belongs to."""
    channel: str | None = None
    """Long: the column that says which channel a value belongs to."""
    value: str | None = None
    """Long: the column of values. In a .mat or .npz file: the array of series."""
    label: str | None = None
    """The column, or in a .mat or .npz file the array, of labels; "" reads none."""
    group: str | None = None
    """The column of groups, such as subjects, that a split is to keep together."""
    drop: tuple[str, ...] = ()
    """Columns to leave out."""
    header: bool | None = None
    """Whether the first line holds names."""
    missing: tuple[str, ...] = ()
    """Further words for a missing value, beside those of pandas (empty, NA, NaN, null, ...)."""
    separator: str | None = None
    """What stands between cells; found where None."""
    decimal: str = "."
    """The decimal mark."""
    encoding: str | None = None
    """The text's encoding; UTF-8 or the file's own mark where None."""
    sheet: str | None = None
    """The sheet of an .xlsx file."""

    def __post_init__(self) -> None:
        """Check every option."""
        if self.layout is not None and self.layout not in CHOICES:
            raise ValueError(f"Reading: layout must be one of {CHOICES}; got {self.layout!r}")
        lists: tuple[object, object] = (self.drop, self.missing)
        if any(isinstance(words, str) for words in lists):
            raise ValueError("Reading: drop and missing must be tuples of texts; got one text")
        if self.decimal not in (".", ",") or self.decimal == self.separator:
            raise ValueError(
                f"Reading: decimal must be '.' or ',' and not the separator; got {self.decimal!r}"
            )
        if self.separator is not None and len(self.separator) != 1 and self.separator != r"\s+":
            raise ValueError(
                f"Reading: separator must be one character, ' ' for blanks; got {self.separator!r}"
            )
        named = [getattr(self, role) for role in ROLES]
        taken = [name for name in (*named, *self.drop) if name]
        twice = sorted({name for name in taken if taken.count(name) > 1})
        if twice:
            raise ValueError(f"Reading: a column must have one meaning; got {twice[0]!r} twice")

    def changed(self) -> list[str]:
        """The options that are not their defaults."""
        return [
            f.name
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]  # fmt: skip


ROLES = ("time", "id", "channel", "value", "label", "group")


class Refusal(ValueError):  # noqa: N818  it is raised, and shown as a ValueError
    """A rule of ours that a file breaks: shown with the file's name before it."""


def option(name: str, value: Any) -> str:
    """An option in the words of Python and of the command."""
    if name in ("drop", "missing"):
        return f"Reading({name}=({value!r},)) or --{name} {_quoted(value)}"
    return f"Reading({name}={value!r}) or --{name.replace('_', '-')} {_quoted(value)}"


def choices(*options: tuple[str, Any]) -> str:
    """Several options, each in both words, for the end of an error."""
    return "; or ".join(f"pass {option(name, value)}" for name, value in options)


def _quoted(value: Any) -> str:
    text = str(value)
    plain = text and not set(text) & set(" \"';|&?*<>$#()\\\t")
    return text if plain else "'" + text.replace("'", "'\\''") + "'"
