"""The report of an evaluation: every figure beside what real data score, in five formats."""

import contextlib
import csv
import io
import itertools
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from ssltok._shared.outputs import new_file, new_folder
from ssltok.evaluation._numbers import short, with_spread
from ssltok.evaluation._page import build_page

__all__ = ["Report", "ReportRow"]

TITLE = "Evaluation of generated series"
INTRO = (
    "Each figure of the generated series stands beside the same figure of real training series in "
    "their place, scored against the same test series: that is what a perfect generator would "
    'reach. "As real" means that neither end is best: the nearer to the figure of the real '
    "series, the better. After the sign: the spread, by random halves of the series, or over three "
    "trainings where a network is trained for the score itself."
)
Figures = Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """One measure: of the generated series, and of real series put in their place.

    Attributes:
        group: The question it belongs to.
        name: The measure; with its encoder, where one is used.
        better: `lower`, `higher`, or `as real` where neither end is best.
        meaning: One sentence for the reader.
        value: Of the generated series; NaN if skipped.
        spread: Standard error of `value` by halves, or standard deviation over seeds; of a share,
            no less than the standard error of a share of so many cases.
        reference: Of real training series in the place of generated ones; NaN if there is none.
        reference_spread: Its spread.
        cases: Series that were scored.
        skipped: Why there is no value, or empty.
        note: How to read the value, and what was left out, or empty.
    """

    group: str
    name: str
    better: str
    meaning: str
    value: float = math.nan
    spread: float = math.nan
    reference: float = math.nan
    reference_spread: float = math.nan
    cases: int = 0
    skipped: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` returns: rows, what they were measured with, and figures on demand.

    Attributes:
        rows: The measures, in order.
        about: Protocol, seed, encoder and its hash, numbers of series, versions.
        draw: Draws the figures: heading to (sentence, PNG bytes).
        names: What was measured, and what the reference is.
        title: The heading of the page.
        intro: What the page says first.

    Example:
        >>> from ssltok.evaluation import Report, ReportRow
        >>> row = ReportRow(
        ...     group="series", name="marginal distance", better="lower", meaning="Values.",
        ...     value=0.5, spread=0.01, reference=0.25, reference_spread=0.01, cases=40,
        ... )
        >>> report = Report(rows=(row,), about={"seed": 0}, draw=dict)
        >>> report["marginal distance"].value
        0.5
        >>> print(report.to_markdown().splitlines()[2])
        | marginal distance | lower | 0.5 | 0.01 | 0.25 | 0.01 | 40 |  |
    """

    rows: tuple[ReportRow, ...]
    about: Mapping[str, object]
    draw: Callable[[], Figures] = field(repr=False)
    names: tuple[str, str] = ("generated", "real")
    title: str = TITLE
    intro: str = INTRO

    def __getitem__(self, name: str) -> ReportRow:
        """Return the row of a measure by its name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"Report: no measure {name!r}; there are {[row.name for row in self.rows]}")

    def to_text(self) -> str:
        """Return a table in columns of one width, for a terminal, and what it was measured with."""
        head = self._head()
        table = [head, *map(_cells, self.rows)]
        widths = [max(len(line[k]) for line in table) for k in range(len(head) - 1)]
        lines = [
            " | ".join([*(cell.ljust(w) for cell, w in zip(line, widths, strict=False)), line[-1]])
            for line in table
        ]
        lines.insert(1, "-+-".join("-" * w for w in [*widths, len(head[-1])]))
        return "\n".join([line.rstrip() for line in lines] + ["", self._said()])

    def to_markdown(self) -> str:
        """Return a Markdown table, and what it was measured with."""
        head = self._head()
        lines = [head, ("---",) * len(head), *map(_cells, self.rows)]
        rows = [f"| {' | '.join(c.replace('|', '/') for c in line)} |" for line in lines]
        return "\n".join([*rows, "", self._said()])

    def to_json(self) -> str:
        """Return `{"about": ..., "names": ..., "rows": [...]}`; what is undefined is null."""
        whole = {
            "about": dict(self.about), "names": self.names, "rows": [asdict(r) for r in self.rows]
        }  # fmt: skip
        return json.dumps(_finite(whole), indent=2, allow_nan=False)

    def to_csv(self) -> str:
        """Return comma-separated values with a head line; what is undefined is empty."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(ReportRow.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        for row in map(asdict, self.rows):
            writer.writerow(
                {k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            )
        return stream.getvalue()

    def to_html(self) -> str:
        """Return one page with the table and the figures, which needs no other file."""
        rows: list[tuple[str, ...]] = []
        given = [row for row in self.rows if not row.skipped]
        for group, members in itertools.groupby(given, lambda row: row.group):
            rows.append((group.capitalize(),))
            rows.extend(
                (
                    row.name,
                    with_spread(row.value, row.spread),
                    with_spread(row.reference, row.reference_spread),
                    row.better,
                    str(row.cases) if row.cases else "-",
                    f"{row.meaning} {row.note[:1].upper()}{row.note[1:]}."
                    if row.note
                    else row.meaning,
                )
                for row in members
            )
        skipped: dict[str, list[str]] = {}
        for row in self.rows:
            if row.skipped:
                skipped.setdefault(row.skipped, []).append(row.name)
        if skipped:
            rows.append(("Skipped",))
            rows.extend(
                (names[0], "-", "-", "", "-", f"{why}.")
                if len(names) == 1
                else (f"{len(names)} measures", "-", "-", "", "-", f"{', '.join(names)}: {why}.")
                for why, names in skipped.items()
            )
        head = ("measure", *self.names, "better", "cases", "")
        return build_page(
            self.title, f"{self.intro} Measured with {self._said()}", rows, self.draw(), head=head
        )

    def save(self, folder: str | pathlib.Path) -> None:
        """Write `report.html`, `report.txt`, `report.md`, `report.json` and `report.csv`.

        Args:
            folder: Where to write; made if it does not exist. The files appear when all of them
                are whole.
        """
        place = pathlib.Path(folder)
        texts = {
            "html": self.to_html(),
            "txt": self.to_text() + "\n",
            "md": self.to_markdown() + "\n",
            "json": self.to_json() + "\n",
            "csv": self.to_csv(),
        }
        contents = {f"report.{ending}": text.encode() for ending, text in texts.items()}
        if os.path.lexists(place):
            with contextlib.ExitStack() as whole:
                streams = [whole.enter_context(new_file(place / name)) for name in contents]
                for stream, content in zip(streams, contents.values(), strict=True):
                    stream.write(content)
            return
        with new_folder(place) as temporary:
            for name, content in contents.items():
                (temporary / name).write_bytes(content)

    def _head(self) -> tuple[str, ...]:
        value, reference = self.names
        return (
            "measure", "better", value, "spread", reference, f"spread of {reference}", "cases",
            "note",
        )  # fmt: skip

    def _said(self) -> str:
        """What `about` holds, but for its lists, such as the files of a run: JSON has these."""
        plain = {k: v for k, v in self.about.items() if not isinstance(v, list | tuple)}
        return "; ".join(f"{key}: {value}" for key, value in plain.items()) + "."


def _finite(value: object) -> object:
    """The same with null in the place of what JSON does not know, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _cells(row: ReportRow) -> tuple[str, ...]:
    numbers = (
        short(row.value), short(row.spread, 2),
        short(row.reference), short(row.reference_spread, 2),
    )  # fmt: skip
    note = f"skipped: {row.skipped}" if row.skipped else row.note
    cases = str(row.cases) if row.cases else "-"
    return (row.name, row.better, *numbers, cases, note)
