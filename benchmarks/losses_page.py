"""Write docs/pages/results/losses.md from what `losses.py` and `teachers.py` have printed.

    python benchmarks/losses.py 1 barlow > one.txt       # as many calls as are handy
    python benchmarks/losses.py 2 barlow > two.txt
    python benchmarks/losses_page.py one.txt two.txt

Each file says on how many threads it was measured; a case that stands in two files of one number
of threads counts as it stands in the later one.
"""

import pathlib
import re
import sys

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "pages" / "results" / "losses.md"
HEAD = """# Speed of the losses

Forward and backward, float32, seed 0, side by side with peers in one process: `python
benchmarks/losses.py` and `python benchmarks/teachers.py`, with one thread and with two. Peers are
lightly 1.6.0 and pytorch-metric-learning 2.9.0; the authors' code is written out in the scripts.
Every value is first checked against the reference's, but for SIGReg and W-MSE, which draw random
directions and shuffles. `benchmarks/losses_page.py` makes this page of what the scripts print.

The speed-up is the median over rounds of the reference's time divided by the candidate's, with its
quartiles: nine to eleven rounds, three where the reference needs more than 0.15 seconds forward.
Peak extra memory is what one call allocates beyond what was held before it.

Machine: {machine}, a virtual machine of two cores. **It
was shared with other work while this ran**: read the ratios and their quartiles, not the
milliseconds. A ratio whose quartiles lie on both sides of 1 says nothing. A dash is a case that
was not measured with two threads: among them all of `teachers.py` (DINO, SwAV, iBOT, cosine
regression, EMA, LARS).
"""
FOOT = """
## What bounds them

- Barlow Twins, VICReg, VIbCReg: products of `batch x batch` where `batch < dim`, each half of it
  once and mirrored. The correlation matrix of the peers grows with `dim` squared, and so does
  their memory.
- NT-Xent: one product forward and one backward where autograd takes three; what is left is those
  products, so the factor ends near 2.
- KoLeo, cosine regression and DINO at (256, 128): below a millisecond the calls themselves cost
  most, and there are few ways to make fewer of them. Equal is what we ask for there.
- SIGReg: the nodes of its integral are even, so one sine and one cosine serve all of them.
- The EMA update of 200 tensors of 256 x 256 moves 150 MB. The row of the bound, one call on one
  contiguous tensor, says what memory alone takes: no update can be four times faster than the
  loop there. Where the tensors are smaller, ours is.
"""


def cases(text: str) -> dict[str, list[list[str]]]:
    """The rows of each case, by its title."""
    found: dict[str, list[list[str]]] = {}
    title = ""
    for line in text.splitlines():
        if line.startswith("### "):
            title = line[4:].strip()
            found[title] = []
        elif line.startswith("| ") and "---" not in line and "candidate" not in line:
            found[title].append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return found


def main() -> None:
    measured: dict[int, dict[str, list[list[str]]]] = {1: {}, 2: {}}
    machine = ""
    for name in sys.argv[1:]:
        text = pathlib.Path(name).read_text()
        words = re.search(r"^(.*), (\d) thread\(s\), (.*)$", text, re.MULTILINE)
        if words is None:
            raise SystemExit(f"{name}: no line names the machine")
        machine = f"{words[1]}, {words[3]}".strip()
        measured[int(words[2])] |= cases(text)
    lines = [HEAD.format(machine=machine)]
    lines.append(
        "| case | candidate | ms | speed-up | quartiles | ms | speed-up | quartiles | MiB |"
    )
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    lines.append("| | threads | 1 | 1 | 1 | 2 | 2 | 2 | 1 |")
    for title, rows in measured[1].items():
        two = {row[0]: row for row in measured[2].get(title, [])}
        for name, ms, ratio, spread, peak in rows:
            again = two.get(name, ["", "-", "-", "-", ""])[1:4]
            lines.append(f"| {' | '.join([title, name, ms, ratio, spread, *again, peak])} |")
            title = ""
    PAGE.write_text("\n".join(lines) + "\n" + FOOT)


if __name__ == "__main__":
    main()
