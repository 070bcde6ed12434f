"""The wheel in a bare environment: install, version, a small fit, and away without a trace.

python .ci/install.py dist
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main() -> None:
    """Make an environment, use the wheel in it, remove the wheel, compare."""
    (wheel,) = (ROOT / sys.argv[1]).glob("ssltok-*.whl")
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        call(sys.executable, "-m", "venv", str(folder / "bare"), folder=folder)
        python = str(folder / "bare" / "bin" / "python")
        pip = [python, "-m", "pip", "install", "-q", *os.environ.get("PIP_ARGS", "").split()]
        pins = ROOT / ".ci" / "constraints.txt"
        (torch,) = (x for x in pins.read_text().split() if x.startswith("torch=="))
        call(*pip, torch, folder=folder)
        # what the wheel needs comes first, so that what it alone brings can be told
        call(*pip, "-c", str(pins), f"{wheel}[pipelines,data]", folder=folder)
        call(python, "-m", "pip", "uninstall", "-q", "-y", "ssltok", folder=folder)
        before = files(folder / "bare")
        call(*pip, "--no-index", "--no-deps", str(wheel), folder=folder)
        call(python, "-m", "pip", "check", folder=folder)
        version = call(str(folder / "bare" / "bin" / "ssltok"), "--version", folder=folder)
        if version.strip() != f"ssltok {wheel.name.split('-')[1]}":
            raise SystemExit(f"install: the command must say its version; got {version!r}")
        fit = call(python, "-I", str(ROOT / ".ci" / "fit.py"), folder=folder)
        call(python, "-m", "pip", "uninstall", "-q", "-y", "ssltok", folder=folder)
        left = sorted(files(folder / "bare") - before)
        if left:
            raise SystemExit(f"install: uninstalling leaves {', '.join(left)}")
    print(f"{wheel.name}: installed, {version.strip()}, {fit.strip()}, uninstalled without a trace")


def files(place: pathlib.Path) -> set[str]:
    """Every file and folder of an environment, but what Python compiled of others meanwhile."""
    found = (p.relative_to(place) for p in place.rglob("*"))
    return {str(p) for p in found if "__pycache__" not in p.parts or "ssltok" in str(p)}


def call(*command: str, folder: pathlib.Path) -> str:
    """Run a command away from the checkout; stop where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(
            f"install: {' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    main()
