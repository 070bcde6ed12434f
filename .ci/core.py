"""The wheel without any extra: what needs none works, and what needs one says which to install.

python -I .ci/core.py        # in an environment that holds the wheel and its core alone
"""

import importlib
import importlib.metadata
import importlib.util
import pathlib
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import scipy.io

import ssltok

OF_AN_EXTRA = (
    "accelerate", "h5py", "matplotlib", "narwhals", "openpyxl", "pandas", "pyarrow", "safetensors",
    "sklearn", "sktime", "tensorboard", "tqdm", "tyro", "umap",
)  # fmt: skip
NEED_EXTRAS = {"cli", "pipelines"}
HINT = re.compile(r"pip install '?\"?(ssltok\[[a-z,]+\])")


def main() -> None:
    """Try every package, name and door; say each fault."""
    problems = [f"{name} is installed" for name in OF_AN_EXTRA if importlib.util.find_spec(name)]
    packages = {info.name for info in pkgutil.iter_modules(ssltok.__path__) if info.ispkg}
    components = sorted(p for p in packages - NEED_EXTRAS if not p.startswith("_"))
    names = 0
    for package in components:
        if not hasattr(ssltok, package):
            problems.append(f"ssltok.{package} is no address after `import ssltok`")
        module = importlib.import_module(f"ssltok.{package}")
        for name in module.__all__:
            names += 1
            fault = hinted(lambda module=module, name=name: getattr(module, name), may_work=True)
            problems += [f"ssltok.{package}.{name}: {fault}"] if fault else []
    fault = hinted(lambda: importlib.import_module("ssltok.pipelines"))
    problems += [f"ssltok.pipelines: {fault}"] if fault else []
    problems += command() + files()
    if problems:
        raise SystemExit("core: " + "; ".join(problems))
    print(f"core: {len(components)} packages, {names} names, without an extra")


def hinted(call: Callable[[], object], *, may_work: bool = False) -> str:
    """What is wrong with a call that lacks an extra: it must raise one line that names it."""
    try:
        call()
    except ImportError as error:
        text = str(error)
        return "" if HINT.search(text) and "\n" not in text else f"says only {text!r}"
    except Exception as error:  # whatever else it raises is the fault looked for
        return f"raises {type(error).__name__}: {error}"
    return "" if may_work else "works, or is silent"


def command() -> list[str]:
    """The command: its version, and status 3 with one line for whatever needs the extra."""
    script = pathlib.Path(sys.executable).with_name("ssltok")
    problems = []
    for start in ([str(script)], [sys.executable, "-I", "-m", "ssltok"]):
        done = subprocess.run([*start, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.strip() != f"ssltok {importlib.metadata.version('ssltok')}":
            problems.append(f"{start} --version prints {done.stdout!r}, {done.stderr!r}")
        for words in (["run"], ["fit", "--data", "x.csv"], ["--help"], []):
            done = subprocess.run([*start, *words], capture_output=True, text=True, check=False)
            lines = done.stderr.strip().splitlines()
            if done.returncode != 3 or len(lines) != 1 or not HINT.search(lines[0]):
                problems.append(f"{[*start, *words]}: status {done.returncode}, {done.stderr!r}")
    return problems


def files() -> list[str]:
    """Readers: what numpy and scipy read is read, and any other says what it needs."""
    data = importlib.import_module("ssltok.data")
    problems = []
    series = np.sin(np.arange(60.0).reshape(3, 20))
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        np.savez(folder / "x.npz", X=series, y=np.array(["a", "b", "a"]))
        np.save(folder / "x.npy", series)
        scipy.io.savemat(folder / "x.mat", {"X": series[:, None], "y": ["a", "b", "a"]})
        (folder / "x.ts").write_text(
            "@univariate true\n@classLabel true a b\n@data\n1,2,3,4:a\n2,3,4,5:b\n"
        )
        (folder / "x.arff").write_text(
            "@relation x\n@attribute t0 numeric\n@attribute t1 numeric\n"
            "@attribute y {a,b}\n@data\n1,2,a\n3,4,b\n"
        )
        for suffix in ("npz", "npy", "mat", "ts", "arff"):
            problems += door(
                lambda s=suffix: data.load_dataset(folder / f"x.{s}"), suffix, may_work=True
            )
        for suffix in ("csv", "tsv", "txt", "parquet", "feather", "xlsx"):
            (folder / f"x.{suffix}").write_text("a,b,c\n1,2,3\n4,5,6\n")
            problems += door(
                lambda s=suffix: data.load_dataset(folder / f"x.{s}"), suffix, may_work=False
            )
    return problems + door(lambda: data.load_dataset("GunPoint"), "GunPoint", may_work=False)


def door(call: Callable[[], object], name: str, *, may_work: bool) -> list[str]:
    """The fault of a way in, by name."""
    fault = hinted(call, may_work=may_work)
    return [f"load_dataset({name}): {fault}"] if fault else []


if __name__ == "__main__":
    main()
