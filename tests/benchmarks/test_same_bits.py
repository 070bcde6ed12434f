"""What compares two checkouts sees a difference, and measures what it says."""

import argparse
import csv
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from benchmarks.studies.same_bits import (
    ARMS,
    FIELDS,
    OLD_NAMES,
    PRESETS,
    ROUNDED,
    compare_cells,
    differences,
    different_tensors,
    digest,
    measure,
    of_tree,
    recorded_cells,
    sizes,
    verdict,
    waves,
)

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_a_digest_knows_each_bit_shape_and_type() -> None:
    values = np.arange(6, dtype=np.float32)
    others = [
        np.nextafter(values, np.float32(9)), values.reshape(2, 3), values[::-1],
        values.view(np.int32), np.append(values, 6),
    ]  # fmt: skip
    assert digest(values) == digest(torch.arange(6, dtype=torch.float32))
    assert len({digest(v) for v in (values, *others)}) == 6
    wide = np.arange(12, dtype=np.float32)
    assert digest(wide[::2]) == digest(wide[::2].copy())  # what lies in memory does not count
    layer = torch.nn.Linear(2, 3)
    assert digest(layer) == digest(layer.weight.detach(), layer.bias.detach())


def test_sizes_are_those_of_floating_tensors() -> None:
    norm = torch.nn.BatchNorm1d(2)  # its count of batches is an integer
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([-3.0, 1.0]))
    assert sizes(norm) == [2.0, 0.0, 0.0, 1.0]


def case(**changes: Any) -> dict[str, Any]:
    plain = {"tokenizer": "a", "codes": "b", "prior": "c", "samples": "d", "sizes": [1.0, 2.0],
             "losses": {"time": "e", "view": "f"}}  # fmt: skip
    return {**plain, **changes}


def test_differences_are_named() -> None:
    assert differences(case(), case()) == []
    assert differences(case(sizes=[3.0]), case()) == []
    assert differences(case(codes="x", samples="y"), case()) == ["codes", "samples"]
    assert differences(case(losses={"time": "x", "new": "z"}), case()) == ["time"]


def test_only_what_is_expected_to_round_may() -> None:
    name = min(ROUNDED)
    off = case(prior="x", sizes=[1.0, 2.001])
    assert verdict(name, case(), case()) == ("equal", "nothing")
    assert verdict(name, off, case())[0] == "rounded"
    assert verdict("one", off, case()) == ("other", "prior")
    assert verdict(name, case(prior="x", sizes=[1.0, 2.1]), case()) == ("other", "prior")
    assert verdict(name, case(prior="x", sizes=[1.0]), case()) == ("other", "prior")
    assert verdict("one", {"error": "E: no"}, case()) == ("other", "new: E: no")


def test_every_kind_of_arm_is_compared() -> None:
    assert set(ARMS) > ROUNDED
    assert len(set(ARMS)) == len(ARMS)
    for part in ("one", "two", "vicreg", "vibcreg", "barlow_twins", "nt_xent", "attach=quantized",
                 "attach=continuous", "views=2", "quantizer=fsq", "quantizer=residual",
                 "quantizer=gradient", "mask=inverted", "paid=all", "head=tied", "start=noise",
                 "order=random", "order=halton", "guidance=2"):  # fmt: skip
        assert any(part in arm for arm in ARMS), part
    assert OLD_NAMES.keys() <= set(PRESETS)


def test_a_case_is_the_same_twice_and_other_cases_are_others() -> None:
    names = ["one+barlow_twins+warp:views=2", "one+barlow_twins+warp", "one:nothing=1"]
    first, again = (measure(names, 2) for _ in range(2))
    assert first == again
    two, one, wrong = (first[name] for name in names)
    assert verdict(names[0], two, one)[0] == "other"
    assert {"tokenizer", "prior", "samples"} <= set(differences(two, one))
    assert len(two["losses"]) == len(one["losses"]) > 5
    assert "a change is a field" in wrong["error"]


def test_a_tree_is_asked_in_a_process_of_its_own() -> None:
    assert of_tree(ROOT, ["one"], 1) == measure(["one"], 1)


def test_cells_are_those_of_the_record_once_each() -> None:
    cells = recorded_cells("study", ["GunPoint"], ["0", "2"])
    assert [(c["arm"], c["seed"]) for c in cells if c["arm"] == "two"] == [
        ("two", "0"),
        ("two", "2"),
    ]
    assert len(cells) == 8
    one = next(c for c in cells if c["arm"] == "one" and c["seed"] == "0")
    assert (one["steps1"], one["steps2"], one["record"]) == ("232", "290", "study")
    assert len({c["arm"] for c in recorded_cells("ablations", ["CBFd"], ["0"])}) == 22


def test_the_first_tensor_that_differs_is_named() -> None:
    old = {
        "tokenizer a": torch.arange(3.0), "prior b": torch.ones(2), "codes": torch.zeros(2).long(),
        "loss gone": torch.ones(1), "loss time": torch.ones(1),
    }  # fmt: skip
    renamed = {"tokenizer a.new": old["tokenizer a"], "prior b": old["prior b"]}
    rest = {name: old[name] for name in ("codes", "loss time")}
    assert different_tensors(renamed | rest, old) == {}
    moved = {"tokenizer a": torch.tensor([0.0, 1.0, 2.5]), "prior b": torch.tensor([1.0, -1.0])}
    different = different_tensors(moved | rest, old)
    assert list(different.items()) == [("tokenizer a", 0.5), ("prior b", 2.0)]
    assert different_tensors(renamed | rest | {"codes": torch.zeros(3).long()}, old) == {
        "codes": float("inf")
    }
    assert different_tensors(renamed, old) == {"codes": float("inf")}
    assert different_tensors(dict(list(renamed.items())[:1]) | rest, old) == {
        "weights": float("inf")
    }


def test_cells_of_a_tree_are_equal_to_its_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), (x_test, y_test) = waves(12, 0), waves(6, 1)
    np.savez(
        tmp_path / "Waves.npz",
        X_train=x,
        X_test=x_test,
        y_train=np.array(y),
        y_test=np.array(y_test),
    )
    cell = {
        "record": "study", "dataset": "Waves", "arm": "one", "seed": "0", "steps1": "1",
        "steps2": "1", "split": "test",
    }  # fmt: skip
    monkeypatch.setattr(
        "benchmarks.studies.same_bits.recorded_cells",
        lambda *_: [cell, cell | {"arm": "one:guidance=2"}],
    )
    options = argparse.Namespace(
        cells=["study"], sets=["Waves"], seeds=["0"], data=[tmp_path], out=tmp_path / "cells.csv"
    )
    assert compare_cells(options, ROOT, ROOT)
    with options.out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(FIELDS)
    assert [(r["verdict"], r["different"], r["first"]) for r in rows] == [("equal", "0", "")] * 2
    assert int(rows[0]["tensors"]) > 50
