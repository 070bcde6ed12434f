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
quartiles: 25 rounds for short calls, nine to fifteen for others, three where the reference needs
more than 0.15 seconds forward. Peak extra memory is what one call allocates beyond what was held
before it.

Machine: {machine}, a virtual machine of two cores.
Some rows were measured while it was shared; the (64, 128) and (256, 128) rows of the losses of
views, InfoNCE, KoLeo, the EMA update and the two-thread rows of `teachers.py` while other work was
held back. Read the ratios and their quartiles, not the milliseconds. A ratio whose quartiles lie
on both sides of 1 says nothing.
"""
FOOT = """
## What bounds them

- Barlow Twins, VICReg, VIbCReg: products of `batch x batch` where `batch < dim`, each half of it
  once and mirrored. The correlation matrix of the peers grows with `dim` squared, and so does
  their memory.
- NT-Xent: one product forward and one backward where autograd takes three; what is left is those
  products, so the factor ends near 2.
- InfoNCE with a queue: the keys are read in pieces, and the gradient, a mean of keys, is made on
  the way forward from the same exponentials. No matrix of `batch x queue` is ever there; the
  peer holds it three times.
- InfoNCE without a queue, KoLeo, cosine regression and DINO at (64, 128) and (256, 128): below a
  millisecond the calls themselves cost most, and there are few ways to make fewer of them. We
  took a few out (lengths by a square and a reciprocal root, an index whose backward pass is
  cheaper); equal is what we ask for there, and the quartiles say no more.
- SIGReg: the nodes of its integral are even, so one sine and one cosine serve all of them.
- The EMA update of 200 tensors of 256 x 256 reads 105 MB and writes 52. The loop makes three
  passes, but its temporaries are 256 KiB and stay in the cache, so it moves little more memory
  than any update must; that bounds the ratio. On one thread even a plain copy of one buffer, which
  reads half as much, is not four times faster than the loop, nor is one `lerp_` of one contiguous
  tensor. On two threads that one call is, but it wants the student's parameters in one
  buffer, which an optimizer's caller has to lay out. Of what was tried, lists of tensors that
  are kept between updates gain 15 to 27 %: we walk both models each time, so that a layer exchanged
  in between is seen. Views of one buffer change nothing beyond that, and pieces that fit the cache
  are slower, because every number is touched once. Where the tensors are smaller, the update is
  four to seven times faster than the loop.
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
