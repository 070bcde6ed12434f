"""Build wheel and source distribution into a folder, and hold them to what they must carry.

    python .ci/distributions.py dist

The wheel that is built from the unpacked source distribution must hold the same files, byte by
byte, as the one built from the checkout.
"""

import email
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
CARRIED = (
    ".ci/run", ".ci/constraints.txt", ".github/CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff",
    "LICENSE", "Makefile", "README.md", "benchmarks/side_by_side.py", "docs/mkdocs.yml",
    "docs/pages/index.md", "examples/01_tokenize.py", "pyproject.toml", "src/ssltok/py.typed",
    "tests/conftest.py",
)  # fmt: skip
"""What the source distribution must hold, for both commands of the README and for the docs."""
TOP = {
    ".ci", ".github", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CITATION.cff",
    "LICENSE", "Makefile", "PKG-INFO", "README.md", "benchmarks", "docs", "examples",
    "pyproject.toml", "src", "tests",
}  # fmt: skip
"""All that may lie at its top."""
LINK = re.compile(r"\]\(([^)]*)\)")


def main() -> None:
    """Build, unpack, build again, compare."""
    out = ROOT / sys.argv[1]
    out.mkdir(exist_ok=True)
    for old in [*out.glob("ssltok-*.whl"), *out.glob("ssltok-*.tar.gz")]:
        old.unlink()
    build(ROOT, out, "--wheel", "--sdist")
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    problems = of_source(source) + of_wheel(wheel)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        (tree,) = folder.iterdir()
        build(tree, folder / "again", "--wheel")
        (again,) = (folder / "again").glob("*.whl")
        problems += differences(contents(wheel), contents(again))
    if problems:
        shutil.rmtree(out)  # what is wrong must not be used by chance
        raise SystemExit("distributions: " + "; ".join(problems))
    print(f"{wheel.name}: {len(contents(wheel))} files, the same from {source.name}")


def build(tree: pathlib.Path, out: pathlib.Path, *kinds: str) -> None:
    """Build what is asked from a tree, each kind from the tree itself."""
    for kind in kinds:
        command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(out)]
        done = subprocess.run([*command, str(tree)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"distributions: {kind} failed\n{done.stdout}{done.stderr}")


def contents(wheel: pathlib.Path) -> dict[str, bytes]:
    """Every file of a wheel by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def differences(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """What two wheels do not share."""
    problems = [f"{name} is in one wheel only" for name in sorted(one.keys() ^ other.keys())]
    shared = sorted(one.keys() & other.keys())
    return problems + [f"{name} differs" for name in shared if one[name] != other[name]]


def of_source(source: pathlib.Path) -> list[str]:
    """What is wrong with the source distribution."""
    with tarfile.open(source) as archive:
        members = {m.name.split("/", 1)[1]: m for m in archive.getmembers() if m.isfile()}
    problems = [f"{source.name} lacks {name}" for name in CARRIED if name not in members]
    strange = sorted({name.split("/")[0] for name in members} - TOP)
    problems += [f"{source.name} carries {name}" for name in strange]
    problems += [f"{source.name} carries {name}" for name in members if "__pycache__" in name]
    if ".ci/run" in members and not members[".ci/run"].mode & 0o100:
        problems.append(f"{source.name}: .ci/run cannot be run")
    return problems


def of_wheel(wheel: pathlib.Path) -> list[str]:
    """What is wrong with the wheel: foreign files, a file left behind, a dead link in its text."""
    files = contents(wheel)
    tree = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "ssltok").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    packed = {name for name in files if ".dist-info/" not in name}
    problems = [f"{wheel.name} and src differ in {name}" for name in sorted(packed ^ tree)]
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    text = email.message_from_bytes(files[metadata])
    description = str(text.get_payload())
    if text["Description-Content-Type"] != "text/markdown" or len(description) < 1000:
        problems.append(f"{wheel.name} does not carry the README")
    problems += [
        f"{wheel.name}: its description links to {target}"
        for target in LINK.findall(description)
        if not re.match(r"[a-z]+:|#", target)
    ]
    if not any(name.endswith("licenses/LICENSE") for name in files):
        problems.append(f"{wheel.name} lacks the licence")
    return problems


if __name__ == "__main__":
    main()
