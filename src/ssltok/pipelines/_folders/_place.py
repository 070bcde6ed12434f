"""The folder of a run: unfinished work inside it, results swapped in at the end, nothing lost.

While it works, a run has one entry in its folder, `unfinished`, with a marker, a lock, checkpoints
and results. When all results are there, those of a run before move into `unfinished/replaced`, the
new ones take their places, `metrics.json` last, and `unfinished` goes. `metrics.json` lists every
file of the run: only what it lists is ours.
"""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from ssltok._shared.outputs import LITTER, LOCK, check_output, new_file, workplace
from ssltok._shared.storage import remove_litter, to_json
from ssltok._shared.work_folders import clear_work, has_checkpoints, remove_empty

__all__ = ["Place", "check_place", "claimed"]

UNFINISHED, MARKER = "unfinished", "run.json"
RESULTS = (
    "figures", "forecast.csv", "metrics.json", "model", "plan.json", "report.html", "samples.csv",
    "samples.npz", "tensorboard",
)  # fmt: skip
"""Everything that a run may leave in its folder."""
LARGEST = 2**26  # bytes of a JSON file that we look into


class Place:
    """Where a run works: `checkpoints` and `results`, inside the folder it will fill."""

    def __init__(self, out: pathlib.Path) -> None:
        self.out, self.work = out, out / UNFINISHED
        self.checkpoints, self.results = self.work / "checkpoints", self.work / "results"
        self.replaced = self.work / "replaced"

    def start_results(self) -> None:
        """An empty folder for results, without those that a killed run had begun."""
        _remove_tree(self.results)
        self.results.mkdir()

    def list_files(self) -> list[str]:
        """What the results hold, with a copy of the curves of the training, as relative paths."""
        curves = self.checkpoints / "tensorboard"
        if curves.is_dir():
            shutil.copytree(curves, self.results / "tensorboard")
        return _files(self.results)

    def publish(self) -> None:
        """Put the results in their places; a kill amid it is made good by the next start."""
        entries = sorted(os.listdir(self.results), key=lambda name: (name == "metrics.json", name))
        old = [name for name in _own_entries(self.out) if os.path.lexists(self.out / name)]
        _mark(self.work, _marker(self.work) | {"publishing": sorted({*entries, *old})})
        self.replaced.mkdir(exist_ok=True)
        for name in old:
            aside = self.replaced / name
            if os.path.lexists(aside):
                _remove_tree(aside)
            (self.out / name).rename(aside)
        for name in entries:
            if os.path.lexists(self.out / name):
                raise FileExistsError(f"run: {self.out / name} must not exist yet; got one")
            (self.results / name).rename(self.out / name)
        self.clear()

    def clear(self) -> None:
        """Remove what is ours of the unfinished work; the lock goes with its holder."""
        clear_work(self.checkpoints)
        for part in (self.results, self.replaced):
            _remove_tree(part)
        remove_litter(self.work)
        (self.work / MARKER).unlink(missing_ok=True)


def check_place(out: pathlib.Path, *, overwrite: bool) -> None:
    """Ask whether a run may work in a folder; nothing is changed.

    Args:
        out: The folder, which need not exist.
        overwrite: Whether a finished run may be replaced.

    Raises:
        FileExistsError: If it holds a finished run and may not be replaced, or anything else.
        OSError: If nothing can be written there.
    """
    if os.path.lexists(out) and not out.is_dir():
        raise FileExistsError(f"run: out must be a folder; got {out}, which is none")
    check_output("run", out / UNFINISHED)
    if not out.exists():
        return
    present, work = set(os.listdir(out)), out / UNFINISHED
    marker = _marker(work)
    if UNFINISHED in present and not (marker or _just_begun(work)):
        raise FileExistsError(f"run: out must be new, or hold a run; got {work}, which no run made")
    if marker.get("publishing"):
        return  # a run was killed while it put its results in their places: it goes on
    listed = _listed(out)
    if listed is None and _of_an_earlier_version(out):
        raise FileExistsError(
            f"run: out must be new, or hold a run of this version; got {out}, a finished run of an "
            "earlier one, which does not list its files, so that none is deleted: give another "
            "folder, or move this one away"
        )
    if listed is None:
        foreign = sorted(present - {UNFINISHED})
        if foreign:
            raise FileExistsError(
                f"run: out must be new, or hold an unfinished run; got something that is no run "
                f"of this version in {out}: {', '.join(foreign[:3])}"
            )
        return
    if not overwrite:
        raise FileExistsError(
            f"run: out must be new, or hold an unfinished run; got a finished run in {out}"
        )
    ours = {pathlib.PurePosixPath(name).parts[0] for name in listed}
    inside = {
        f"{name}/{file}" if file else name
        for name in ours & present
        for file in (_files(out / name) if (out / name).is_dir() else [""])
    }
    foreign = sorted(inside - set(listed))
    if foreign:
        raise FileExistsError(
            f"run: overwrite must find nothing but the run that it replaces; got "
            f"{', '.join(foreign[:3])} in {out}, which no run wrote: move it away"
        )


@contextlib.contextmanager
def claimed(out: pathlib.Path, run: str, *, overwrite: bool) -> Iterator[Place]:
    """Hold the folder for one run: what was begun of the same run is there to go on with.

    Args:
        out: The folder, which `check_place` has seen.
        run: The fingerprint of the run.
        overwrite: Whether another run's unfinished work may be dropped.

    Raises:
        FileExistsError: If another run's unfinished work is there.
        BlockingIOError: If another process is at work there.
    """
    place = Place(out)
    with contextlib.ExitStack() as held:
        held.callback(remove_empty, place.work)
        held.enter_context(workplace("run", place.work))
        check_place(out, overwrite=overwrite)  # again, now that nobody else is here
        marker = _marker(place.work)
        if marker and marker["run"] != run and has_checkpoints(place.checkpoints):
            if not overwrite:
                raise FileExistsError(
                    f"run: out must be new, or hold this run unfinished; got the unfinished run "
                    f"of other data, options or seed in {out} (overwrite drops it)"
                )
            clear_work(place.checkpoints)
        _mark(place.work, marker | {"ssltok": "unfinished run", "run": run})
        try:
            yield place
        except BaseException:
            if not has_checkpoints(place.checkpoints) and not _marker(place.work).get("publishing"):
                place.clear()  # nothing to go on with
            raise


def _marker(work: pathlib.Path) -> dict[str, Any]:
    """What the marker of an unfinished run says; empty where there is none of ours."""
    marker = _read_json(work / MARKER)
    ours = isinstance(marker, dict) and marker.get("ssltok") == "unfinished run"
    return marker if ours and isinstance(marker.get("run"), str) else {}


def _just_begun(work: pathlib.Path) -> bool:
    """Whether a run was killed before it could write its marker: there is nothing but its lock."""
    if not work.is_dir() or work.is_symlink():
        return False
    return all(name == LOCK or LITTER.fullmatch(name) for name in os.listdir(work))


def _mark(work: pathlib.Path, marker: dict[str, Any]) -> None:
    with new_file(work / MARKER) as stream:
        stream.write(to_json(marker))


def _listed(out: pathlib.Path) -> list[str] | None:
    """The files of the finished run in a folder, by its `metrics.json`; None if there is none."""
    metrics = _read_json(out / "metrics.json")
    about = metrics.get("about") if isinstance(metrics, dict) else None
    origin = about.get("provenance") if isinstance(about, dict) else None
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(origin, dict) or "run" not in origin or not isinstance(files, list):
        return None
    for name in files:
        parts = pathlib.PurePosixPath(name).parts if isinstance(name, str) else ()
        if not parts or parts[0] not in RESULTS or ".." in parts:
            return None
    return [*files, "metrics.json"]


def _of_an_earlier_version(out: pathlib.Path) -> bool:
    """Whether a folder looks like a finished run that lists no files, as 0.1 wrote it."""
    metrics = _read_json(out / "metrics.json")
    about = metrics.get("about", metrics) if isinstance(metrics, dict) else None
    looks = isinstance(about, dict) and "files" not in about and "provenance" in about
    return looks and (out / "model").is_dir() and (out / "report.html").is_file()


def _own_entries(out: pathlib.Path) -> list[str]:
    listed = _listed(out) or []
    publishing = _marker(out / UNFINISHED).get("publishing", [])
    names = {pathlib.PurePosixPath(name).parts[0] for name in (*listed, *publishing)}
    return sorted(names & set(RESULTS))


def _files(folder: pathlib.Path) -> list[str]:
    """Files below a folder, and links, as relative paths; an empty folder counts as itself."""
    paths = []
    for place, folders, files in os.walk(folder):
        here = pathlib.Path(place)
        links = [name for name in folders if (here / name).is_symlink()]
        paths += [(here / name).relative_to(folder).as_posix() for name in (*files, *links)]
        if not folders and not files and here != folder:
            paths.append(here.relative_to(folder).as_posix())
    return sorted(paths)


def _read_json(path: pathlib.Path) -> Any:
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _remove_tree(path: pathlib.Path) -> None:
    """Remove what stands in our marked folder under our name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
