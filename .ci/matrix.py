"""Imports, contracts and one fit, cell by cell: each Python, the lowest versions, the newest.

    python .ci/matrix.py                          # all cells
    python .ci/matrix.py --cells 3.11-lowest      # one
    python .ci/matrix.py --any-build              # also with a CUDA build of torch (GB a cell)

A cell is a virtual environment under `.venv-matrix/` with the wheel in `dist/`, all its extras
and what the tests need. Lowest: the versions of `.ci/lowest.txt`, on the oldest Python. Newest:
whatever the index has, on every Python. After the install the cell has no network (`unshare
--net`, where the system allows it). torch must be a CPU build: where the version that is wanted
is offered as another only, the nearest one that is offered as a CPU build takes its place, and
the log says so; where there is none, the cell is skipped and says so, after its Python has
compiled every file.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = "pipelines,data,files,track,maps"
TOOLS = ("pytest>=9.0", "pytest-xdist>=3.6", "hypothesis>=6.130", "polars>=1.0")
ACCELERATED = re.compile(r"^(nvidia|cuda|triton)")
SHOWN = ("torch", "numpy", "scipy", "einops", "typing_extensions", "accelerate", "scikit-learn",
         "pandas", "sktime", "matplotlib", "pyarrow", "tyro", "umap-learn")  # fmt: skip


class Cell(NamedTuple):
    """One environment: a Python, and which versions it gets."""

    python: str
    versions: str

    @property
    def name(self) -> str:
        """As the log and `--cells` call it."""
        return f"{self.python}-{self.versions}"


CELLS = (Cell(PYTHONS[0], "lowest"), *(Cell(python, "newest") for python in PYTHONS))


class CellError(Exception):
    """A step of a cell went wrong; the text is what it printed."""


def main() -> None:
    """Run the cells that are asked for, print and write the log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="*", default=[c.name for c in CELLS])
    parser.add_argument("--log", type=pathlib.Path, help="also write the short log here")
    parser.add_argument("--any-build", action="store_true", help="accept a CUDA build of torch")
    options = parser.parse_args()
    lines = [
        f"make matrix: {time.strftime('%Y-%m-%d', time.gmtime())}, load {os.getloadavg()[0]:.1f}"
    ]
    failed = False
    for cell in CELLS:
        if cell.name not in options.cells:
            continue
        start = time.monotonic()
        try:
            said = run(cell, any_build=options.any_build)
        except CellError as error:
            failed = True
            print(error, file=sys.stderr)
            said = ["FAILED: " + (str(error).strip().splitlines() or ["?"])[0]]
        seconds = time.monotonic() - start
        lines += ["", f"{cell.name} ({seconds:.0f} s)", *(f"  {line}" for line in said)]
        print("\n".join(lines[-len(said) - 2 :]), flush=True)
    if options.log:
        (ROOT / options.log).write_text("\n".join(lines) + "\n")
    raise SystemExit(int(failed))


def run(cell: Cell, *, any_build: bool) -> list[str]:
    """Make one cell's environment and try it; say what was tried."""
    python = interpreter(cell.python)
    if python is None:
        return ["skipped: this machine has no such Python"]
    place = ROOT / ".venv-matrix" / cell.name
    inside = str(place / "bin" / "python")
    if not pathlib.Path(inside).exists():
        call([python, "-m", "venv", str(place)])
    torch, word = torch_for(inside, cell.versions, any_build=any_build)
    if torch is None:
        call([inside, "-W", "error", "-m", "compileall", "-q", "-f", "src"])
        shutil.rmtree(place)
        return [word, "every file of src compiles without a warning"]
    install(inside, cell, torch)
    said = [word] if word else []
    said.append(", ".join(f"{n} {v}" for n, v in versions(inside).items()))
    apart = no_network()
    said.append("no network" if apart else "network not cut: this system has no `unshare --net`")
    for name, words in checks(inside).items():
        start = time.monotonic()
        last = call([*apart, *words]).strip().splitlines()[-1]
        said.append(f"{name}: {last.strip('= ')} ({time.monotonic() - start:.0f} s)")
    return said


def interpreter(version: str) -> str | None:
    """The command of a Python of this version, if there is one that runs."""
    places = sorted(pathlib.Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for name in [f"python{version}", *map(str, places), sys.executable]:
        ask = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([name, "-c", ask], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if done.stdout.strip() == version:
            return name
    return None


def torch_for(inside: str, which: str, *, any_build: bool) -> tuple[str | None, str]:
    """The version of torch for a cell, and a word where it is not the one that was wanted."""
    lowest = next(line[7:] for line in pins("lowest.txt") if line.startswith("torch=="))
    offered = re.findall(r"(?<=[ :,])\d+\.\d+[\w.+]*", call(
        [inside, "-m", "pip", "index", "versions", "torch"]).split("Available versions:")[1]
    )  # fmt: skip
    known = sorted({v for v in offered if number(v) >= number(lowest)}, key=number)
    wanted = known if which == "lowest" else known[::-1]
    for version in wanted:
        if any_build or not accelerated(inside, version):
            first = wanted[0]
            return version, "" if version == first else (
                f"torch {first} is offered as a CUDA build only; {version} in its place"
            )
    return None, "skipped: no CPU build of torch is offered for this Python here"


def number(version: str) -> tuple[int, ...]:
    """A version's numbers; one with a local label comes before the same without."""
    return (*map(int, re.findall(r"\d+", version.partition("+")[0])), 0 if "+" in version else 1)


NEEDS = """
import json, sys
from pip._vendor.packaging.requirements import Requirement
(item,) = json.load(open(sys.argv[1]))["install"]
needs = [Requirement(text) for text in item["metadata"].get("requires_dist", [])]
print(*(n.name for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})))
"""


def accelerated(inside: str, version: str) -> bool:
    """Whether this version of torch, as pip would take it, needs libraries of an accelerator."""
    report = pathlib.Path(inside).parents[1] / "report.json"
    words = ["--dry-run", "--ignore-installed", "--no-deps", "-q", "--report", str(report)]
    try:
        call([inside, "-m", "pip", "install", *words, f"torch=={version}"])
    except CellError:
        return True  # not for this Python at all
    return any(map(ACCELERATED.match, call([inside, "-c", NEEDS, str(report)]).split()))


def install(inside: str, cell: Cell, torch: str) -> None:
    """Put the wheel with its extras and the test tools into the environment."""
    (wheel,) = (ROOT / "dist").glob("ssltok-*.whl")
    pip = [inside, "-m", "pip", "install", "-q", *os.environ.get("PIP_ARGS", "").split()]
    call([*pip, f"torch=={torch}"])
    limits = pathlib.Path(inside).parents[1] / "limits.txt"
    lowest = [line for line in pins("lowest.txt") if not line.startswith("torch==")]
    limits.write_text(
        "\n".join([f"torch=={torch}", *(lowest if cell.versions == "lowest" else [])])
    )
    call([*pip, "--upgrade", "-c", str(limits), f"{wheel}[{EXTRAS}]", *TOOLS])
    call([*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)])


def pins(name: str) -> list[str]:
    """The lines of a file of versions, without its remarks."""
    lines = (ROOT / ".ci" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def versions(inside: str) -> dict[str, str]:
    """What is installed of what matters."""
    code = (
        "import importlib.metadata as m, json, platform;"
        f"about = {{n: m.version(n) for n in {SHOWN}}};"
        "print(json.dumps({'Python': platform.python_version(), **about}))"
    )
    found: dict[str, str] = json.loads(call([inside, "-c", code]))
    return found


def checks(inside: str) -> dict[str, list[str]]:
    """What runs in each cell, by name."""
    contracts = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("tests/*/test_contract*.py"))
    pytest = [inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:anyio", "-n", "2"]
    return {
        "imports": [inside, "-I", "-W", "error::DeprecationWarning:ssltok", ".ci/imports.py"],
        "one fit": [inside, "-I", ".ci/fit.py"],
        "contracts": [*pytest, *contracts],
    }


def no_network() -> list[str]:
    """The words before a command that cut it off the network, if the system has them."""
    words = ["unshare", "--net"]
    try:
        done = subprocess.run([*words, "true"], capture_output=True, check=False)
    except OSError:
        return []
    return words if done.returncode == 0 else []


def call(command: list[str]) -> str:
    """Run a command in the checkout; its output, or `CellError`."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": ""}
    environment = {**os.environ, **threads, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = " ".join(command)[-200:]
        raise CellError(
            f"{words}: status {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    main()
