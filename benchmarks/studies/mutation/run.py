"""Run a seeded sample of mutants, each against the tests that meet its line.

    python -m benchmarks.studies.mutation.run      # into build/mutation, by a digest of the sources

pytest imports and collects once. A first child process runs all tests and records, with coverage,
which test meets which line; then each mutant has a child of its own, in which the code of the
changed function is exchanged and the tests of its family that meet the changed lines run until one
fails: those of the file of its name first, then the quick ones. Tests that start processes of their
own are left out, for the change does not reach them. A mutant that uses four times the processor
time of its tests, and 20 seconds, counts as killed (`timeout`). A row is written as it comes, and
what is there is not run again.
"""

import argparse
import csv
import gc
import hashlib
import json
import math
import os
import pathlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import NamedTuple, TypeVar

import coverage
import pytest
from benchmarks.studies.mutation.mutants import FAMILIES, Mutant, sample_mutants

ROOT = pathlib.Path(__file__).parents[3]
FIELDS = ("key", "family", "function", "result", "by", "seconds", "before", "after")
MEMORY = 24 * 2**30
T = TypeVar("T")
SURVIVED, KILLED, UNREACHED, BROKEN = range(4)
WORDS = {SURVIVED: "survived", KILLED: "killed", UNREACHED: "not reached", BROKEN: "killed"}


class Met(NamedTuple):
    """What a test took and the lines of each file that it ran."""

    seconds: float
    lines: dict[str, list[int]]


def in_child(work: Callable[[], tuple[int, str]], seconds: float) -> tuple[int | None, str]:
    """Return the code and the word of `work`, done by a copy of this process, quietly.

    The code is None where it ran out of processor time (or of ten times that by the clock).
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code, word = BROKEN, ""
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 5))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            quiet = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(quiet, stream)
            code, word = work()
        except BaseException as error:  # whatever breaks here, the change broke
            word = f"{type(error).__name__} {error}"[:200]
        os.write(writer, word.encode())
        os._exit(code)
    os.close(writer)
    end = time.monotonic() + 10 * seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    word = os.read(reader, 1000).decode()
    os.close(reader)
    return (os.WEXITSTATUS(status) if os.WIFEXITED(status) else None), word


def by_name(things: list[T], code_of: Callable[[T], CodeType]) -> dict[tuple[str, int], list[T]]:
    """Group what has code by its full name, and by which of that name it is in its file."""
    named: dict[str, dict[int, list[T]]] = {}
    for thing in things:
        code = code_of(thing)
        named.setdefault(code.co_qualname, {}).setdefault(code.co_firstlineno, []).append(thing)
    return {
        (name, turn): group
        for name, groups in named.items()
        for turn, (_, group) in enumerate(sorted(groups.items()))
    }


def codes_in(code: CodeType) -> list[CodeType]:
    """The code of every function within some code, at any depth."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return inner + [deep for one in inner for deep in codes_in(one)]


def exchange(mutant: Mutant, living: list[FunctionType]) -> bool:
    """Give the living functions of a file, closures too, the mutant's code and defaults."""
    path = str(ROOT / mutant.path)
    module = next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == path)
    names = {"__name__": module.__name__, "__file__": path, "__package__": module.__package__}
    whole = compile(mutant.source, path, "exec")
    exec(whole, names)
    fresh = [
        thing
        for thing in gc.get_objects()
        if type(thing) is FunctionType and thing.__code__.co_filename == path
    ]
    defaults = by_name(fresh, lambda function: function.__code__)
    changed = False
    codes = by_name(codes_in(whole), lambda code: code)
    for name, functions in by_name(living, lambda function: function.__code__).items():
        for function in functions:
            code = codes[name][0]
            if function.__code__ != code:
                function.__code__ = code
                changed = True
            if name not in defaults:
                continue
            for which in ("__defaults__", "__kwdefaults__"):
                new = getattr(defaults[name][0], which)
                if repr(getattr(function, which)) != repr(new):
                    setattr(function, which, new)
                    changed = True
    return changed


class Mutation:
    """A plugin of pytest whose loop runs the tests once for each mutant."""

    def __init__(
        self, mutants: list[Mutant], out: pathlib.Path, cache: pathlib.Path, budget: float
    ) -> None:
        self.mutants, self.out, self.cache = mutants, out, cache
        self.budget = budget or math.inf
        self.failed = ""
        self.met: dict[str, Met] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what runs in other processes."""
        items[:] = [item for item in items if "two_ranks" not in getattr(item, "fixturenames", ())]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a test that fails."""
        if report.failed:
            self.failed = report.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Record, then mutate."""
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        if not self.cache.exists():
            print(f"recording {len(session.items)} tests", flush=True)
            code, word = in_child(lambda: self._record(session.items), 3600)
            if code != 0:
                raise RuntimeError(f"the tests could not be recorded: {word}")
        self.met = {name: Met(*met) for name, met in json.loads(self.cache.read_text()).items()}
        gc.collect()
        living: dict[str, list[FunctionType]] = {}
        for thing in gc.get_objects():
            if type(thing) is FunctionType:  # `isinstance` asks objects that warn when asked
                living.setdefault(thing.__code__.co_filename, []).append(thing)
        gc.freeze()
        with self.out.open("a", newline="") as file:
            rows = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if self.out.stat().st_size == 0:
                rows.writeheader()
            for mutant in self.mutants:
                rows.writerow(self._row(mutant, session.items, living))
                file.flush()
        return True

    def _record(self, items: list[pytest.Item]) -> tuple[int, str]:
        recorder = coverage.Coverage(
            data_file=None, source=[str(ROOT / "src/ssltok" / family) for family in FAMILIES],
            messages=False,
        )  # fmt: skip
        recorder.start()
        taken = {}
        for item, following in zip(items, [*items[1:], None], strict=True):
            recorder.switch_context(item.nodeid)
            self.failed, start = "", time.process_time()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if not self.failed:
                taken[item.nodeid] = time.process_time() - start
        recorder.stop()
        data = recorder.get_data()
        lines: dict[str, dict[str, list[int]]] = {name: {} for name in taken}
        for path in data.measured_files():
            for line, contexts in data.contexts_by_lineno(path).items():
                for name in contexts:
                    if name in lines:
                        lines[name].setdefault(os.path.relpath(path, ROOT), []).append(line)
        met = {name: Met(seconds, lines[name]) for name, seconds in taken.items()}
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        self.cache.write_text(json.dumps(met))
        return 0, ""

    def _tests(self, mutant: Mutant, items: list[pytest.Item]) -> list[pytest.Item]:
        """Return the tests that meet the lines: those of the same name first, then the quick."""
        family, stem = mutant.path.split("/")[2], pathlib.Path(mutant.path).stem
        plain = stem.strip("_").removesuffix("_fast")

        def meets(item: pytest.Item) -> bool:
            met = self.met.get(item.nodeid)
            ours = f"/{family}/" in item.nodeid
            first, last = mutant.lines
            lines = met.lines.get(mutant.path, []) if met and ours else []
            return any(first <= line <= last for line in lines)

        def order(item: pytest.Item) -> tuple[bool, float]:
            near = f"/test_{plain}.py" in item.nodeid or f"/{stem}.py" in item.nodeid
            return not near, self.met[item.nodeid].seconds

        tests, left = [], self.budget
        for item in sorted(filter(meets, items), key=order):
            left -= self.met[item.nodeid].seconds
            if tests and left < 0:
                break
            tests.append(item)
        return tests

    def _row(
        self, mutant: Mutant, items: list[pytest.Item], living: dict[str, list[FunctionType]]
    ) -> dict[str, str]:
        tests = self._tests(mutant, items)

        def work() -> tuple[int, str]:
            if not exchange(mutant, living[str(ROOT / mutant.path)]):
                return UNREACHED, "no living function"
            self.failed = ""
            for item, following in zip(tests, [*tests[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.failed:
                    return KILLED, self.failed
            return (SURVIVED if tests else UNREACHED), f"{len(tests)} tests"

        start = time.monotonic()
        code, word = in_child(work, 20 + 4 * sum(self.met[i.nodeid].seconds for i in tests))
        result = "timeout" if code is None else WORDS[code]
        print(f"{result:12} {mutant.key}  {mutant.before}  ->  {mutant.after}", flush=True)
        values = (
            mutant.key, mutant.path.split("/")[2], mutant.function, result, word,
            f"{time.monotonic() - start:.1f}", mutant.before, mutant.after,
        )  # fmt: skip
        return dict(zip(FIELDS, values, strict=True))


def digest_of(*folders: str) -> str:
    """Name the state of some folders of the repository, so that results of two never mix."""
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            whole.update(path.read_bytes())
    return whole.hexdigest()[:8]


def rows_of(path: pathlib.Path) -> Iterator[dict[str, str]]:
    """Read the rows of a table of results."""
    if path.exists():
        with path.open(newline="") as file:
            yield from csv.DictReader(file)


def main() -> int:
    """Run what is missing of a sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, help="CSV of results, added to")
    parser.add_argument("--count", type=int, default=150, help="mutants of each family")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--cache", type=pathlib.Path, help="what tests meet, recorded if absent")
    parser.add_argument("--budget", type=float, default=0.0, help="seconds of tests a mutant")
    parser.add_argument("--again", nargs="*", default=None, help="keys to run again, none others")
    options = parser.parse_args()
    folder, sources = ROOT / "build" / "mutation", digest_of("src")
    out = options.out or folder / f"sample-{sources}.csv"
    cache = options.cache or folder / f"tests-{digest_of('src', 'tests')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {row["key"] for row in rows_of(out)}
    sample = sample_mutants(ROOT, options.families, options.count, options.seed)
    if options.again is not None:
        sample = [mutant for mutant in sample if mutant.key in options.again]
    else:
        sample = [mutant for mutant in sample if mutant.key not in done]
    places = [f"tests/{family}" for family in FAMILIES]
    places += [f"src/ssltok/{family}" for family in FAMILIES]
    os.chdir(ROOT)
    plugin = Mutation(sample, out.resolve(), cache.resolve(), options.budget)
    return int(pytest.main(["-q", "-s", "-p", "no:cacheprovider", *places], plugins=[plugin]))


if __name__ == "__main__":
    sys.exit(main())
