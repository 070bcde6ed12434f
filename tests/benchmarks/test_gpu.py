"""The script for GPUs, on the CPU at small sizes: its rows, its time, and that it sees faults."""

import json
import os
import pathlib
import sys
import time
import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("accelerate")

from benchmarks import gpu, gpu_checks, gpu_ratios
from benchmarks.gpu_device import Item, NotHere, NotInstalled, PeerFailed, tensors_on

import ssltok.losses
import ssltok.nn
import ssltok.quantizers

CPU = torch.device("cpu")
QUICK = ("losses", "quantizers", "no sync", "generator", "CUDA graphs", "large")
Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _beside_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(pathlib.Path(gpu.__file__).parent))


def rows_of(*parts: gpu.Part, seconds: float | None = None) -> Rows:
    rows: Rows = []

    def write(row: Mapping[str, Any]) -> None:
        rows.append(dict(row))

    gpu.run_parts(parts, CPU, small=True, write=write, seconds=seconds)
    return rows


def part(*items: Item, title: str = "a part", seconds: float = 5.0) -> gpu.Part:
    return gpu.Part(title, seconds, lambda device, small: items)


def one(check: Any, name: str) -> dict[str, Any]:
    """The row of one item of a part of the script."""
    items = [item for item in check(CPU, True) if item.name == name]
    (row,) = rows_of(part(*items))
    return row


# --- the whole script -----------------------------------------------------------------------


def test_the_script_runs_on_the_cpu(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = os.environ.get("SSLTOK_ALL") == "1"
    words = ["--small", "--device", "cpu", "--out", str(tmp_path / "rows")]
    assert gpu.main([*words, *([] if everything else ["--only", *QUICK])]) == 0
    lines = (tmp_path / "rows" / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["status"] for row in rows} <= {"ok", "skipped", "not installed"}
    titles = {p.title for p in gpu.PARTS if everything or p.title.startswith(QUICK)}
    assert {row["part"] for row in rows} == titles
    for package, title, form in (
        (ssltok.losses, "losses as on the CPU", "_loss"),
        (ssltok.quantizers, "quantizers as on the CPU", "Quantizer"),
    ):
        names = {row["name"].split(",")[0] for row in rows if row["part"] == title}
        assert {n for n in package.__all__ if n.endswith(form) and n in names} == {
            n for n in package.__all__ if n.endswith(form) and n not in HELPERS
        }
    table = (tmp_path / "rows" / "rows.md").read_text()
    assert table.count("\n| ") == len(rows) + 2 * len(titles)
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


HELPERS = {"Quantizer"}  # a protocol


def test_eight_minutes_hold_the_parts_and_what_goes_before() -> None:
    assert sum(p.seconds for p in gpu.PARTS) <= 460
    assert len({p.title for p in gpu.PARTS}) == len(gpu.PARTS)


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--seconds", "0"]])
def test_words_that_ask_nothing_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(words)


def test_a_failed_row_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def fail() -> Rows:
        raise ValueError("a | b\n  c")

    monkeypatch.setattr(gpu, "PARTS", (part(Item("it", fail)),))
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    assert (
        "| it | failed |  |  |  |  | ValueError: a \\| b c |" in (tmp_path / "rows.md").read_text()
    )


# --- what becomes of an item ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "failed"),
        (NotHere("CUDA only"), "skipped"),
        (NotInstalled("pip install it"), "not installed"),
        (PeerFailed("peer"), "peer failed"),
        (torch.OutOfMemoryError("much"), "out of memory"),
    ],
)
def test_what_goes_wrong_is_a_row_and_the_next_item_runs(error: Exception, status: str) -> None:
    def wrong() -> Rows:
        raise error

    rows = rows_of(part(Item("wrong", wrong), Item("right", lambda: [{"ms": 3.0}, {"ms": 4.0}])))
    assert [(row["name"], row["status"]) for row in rows] == [
        ("wrong", status), ("right", "ok"), ("right", "ok")
    ]  # fmt: skip
    assert str(error) in rows[0]["detail"]
    assert [row["ms"] for row in rows[1:]] == [3.0, 4.0]


def test_items_that_cannot_be_made_are_a_row() -> None:
    def items(device: torch.device, small: bool) -> Iterator[Item]:
        yield Item("first", lambda: [{}])
        raise NotInstalled("pip install it")

    rows = rows_of(gpu.Part("a part", 1.0, items))
    assert [row["status"] for row in rows] == ["ok", "not installed"]


def test_a_part_ends_in_time_and_lends_what_it_does_not_use() -> None:
    def sleep() -> Rows:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            time.sleep(0.005)
        return [{}]

    def nap() -> Rows:
        time.sleep(0.25)
        return [{}]

    slow = part(Item("slow", sleep), Item("after it", sleep), title="slow", seconds=0.2)
    start = time.monotonic()
    rows = rows_of(part(title="quick", seconds=0.2), slow, part(Item("x", nap), seconds=2.0))
    assert [row["status"] for row in rows] == ["out of time", "out of time", "ok"]
    assert 0.35 < rows[0]["seconds"] < 1.5
    assert rows[1]["seconds"] < 0.1
    assert time.monotonic() - start < 3


def test_seconds_are_shared_out_as_the_parts_ask() -> None:
    def until_stopped() -> Rows:
        time.sleep(5)
        return [{}]

    parts = [
        part(Item(str(i), until_stopped), title=str(i), seconds=s) for i, s in ((0, 30), (1, 10))
    ]
    first, second = rows_of(*parts, seconds=0.4)
    assert first["seconds"] == pytest.approx(0.3, abs=0.2)
    assert second["seconds"] < first["seconds"]


# --- faults are seen --------------------------------------------------------------------------


def scaled(function: Any, factor: float) -> Any:
    def call(*inputs: Any, **options: Any) -> Any:
        on_device = inputs[0].dtype == torch.float32  # the reference is float64
        return function(*inputs, **options) * (factor if on_device else 1.0)

    return call


def test_a_loss_that_differs_on_the_device_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one(gpu_checks.losses_agree, "koleo_loss")["status"] == "ok"
    monkeypatch.setattr(ssltok.losses, "koleo_loss", scaled(ssltok.losses.koleo_loss, 1.01))
    row = one(gpu_checks.losses_agree, "koleo_loss")
    assert row["status"] == "failed"
    assert "allowed 1e-04" in row["detail"]


def test_a_loss_in_half_precision_under_autocast_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ssltok.losses, "gaussian_kl_loss", lambda mean, other: (mean @ other.T).square().mean()
    )
    assert one(gpu_checks.bfloat16, "gaussian_kl_loss")["status"] == "failed"


def test_a_mask_that_forgets_the_generator_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.masking import test_contract as masks

    monkeypatch.setitem(
        masks.SAMPLERS, "random_mask", lambda valid, generator: torch.rand(valid.shape) < 0.5
    )
    row = one(gpu_checks.generators, "random_mask")
    assert row["status"] == "failed"
    assert row["detail"].endswith("the generator alone must decide")


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        (torch.ones(3), torch.ones(1)),
        (torch.tensor([torch.nan]), torch.ones(1)),
        (torch.tensor([1.0]), torch.tensor([1.001])),
        (torch.tensor([2, 3]), torch.tensor([2, 4])),
        (torch.tensor([1 + 1j]), torch.tensor([1 - 1j])),
    ],
)
def test_an_error_is_seen(value: Tensor, reference: Tensor) -> None:
    assert gpu_checks.error("it", reference, reference, 0.0) == 0.0
    with pytest.raises(AssertionError, match=r"^it: "):
        gpu_checks.error("it", value, reference, 1e-4)


def test_an_error_is_relative_to_the_largest_entry_or_to_one() -> None:
    large = torch.tensor([1000.0, 1.0])
    assert gpu_checks.error("it", large + 0.5, large, 1e-3) == pytest.approx(5e-4)
    assert gpu_checks.error("it", torch.tensor(0.25), torch.tensor(0.125), 1.0) == 0.125


def test_a_modules_tensors_move_and_come_back() -> None:
    module = types.ModuleType("cases")
    vars(module).update(a=torch.ones(2), b=(torch.ones(1), torch.ones(3)), c="word", d=())
    before = dict(vars(module))
    meta = torch.device("meta")
    with tensors_on(module, meta):
        assert module.a.device == module.b[1].device == torch.ones(1).device == meta
    assert all(vars(module)[name] is value for name, value in before.items())


# --- ratios -----------------------------------------------------------------------------------


def fake_lightly(monkeypatch: pytest.MonkeyPatch, loss: Any) -> None:
    package, module = types.ModuleType("lightly"), types.ModuleType("lightly.loss")
    vars(module)["KoLeoLoss"] = lambda: loss
    monkeypatch.setitem(sys.modules, "lightly", package)
    monkeypatch.setitem(sys.modules, "lightly.loss", module)


def test_a_peer_is_timed_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(z: Tensor) -> Tensor:
        time.sleep(0.01)
        return ssltok.losses.koleo_loss(z)

    fake_lightly(monkeypatch, slow)
    row = one(gpu_ratios.losses, "KoLeo (16, 8), beside lightly")
    assert row["status"] == "ok"
    assert row["speedup"] > 1.2
    assert row["detail"].startswith("lightly: ")
    assert "speedup" not in one(gpu_ratios.losses, "KoLeo (16, 8)")


def test_a_peer_of_another_value_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_lightly(monkeypatch, lambda z: 2 * ssltok.losses.koleo_loss(z))
    assert one(gpu_ratios.losses, "KoLeo (16, 8), beside lightly")["status"] == "failed"


def test_a_peer_that_does_not_run_is_not_ours_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(z: Tensor) -> Tensor:
        raise RuntimeError("not on this device")

    fake_lightly(monkeypatch, broken)
    row = one(gpu_ratios.losses, "KoLeo (16, 8), beside lightly")
    assert (row["status"], row["detail"]) == ("peer failed", "RuntimeError: not on this device")
