"""Checkpoints: only ours are read or removed, damage is mended; training that diverges stops."""

import os
import pathlib
import shutil
import warnings
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ssltok.training import History, Stage, TrainingConfig, accelerated, train_stage


class Result(NamedTuple):
    loss: Tensor
    logged: dict[str, Tensor]


class Line(nn.Module):
    """A line through noise, whose loss or gradient leaves the numbers at a step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 1)

    def forward(self, batch: tuple[Tensor, float, float]) -> Result:
        x, factor, kick = batch
        weight = self.net.weight * 1.0
        if weight.requires_grad:
            weight.register_hook(lambda gradient: gradient * kick)
        loss = (x @ weight.T + self.net.bias).square().mean() * factor
        return Result(loss, {"loss": loss, "steady": torch.ones(())})


def train(
    folder: pathlib.Path | None,
    *,
    steps: int = 6,
    loss_at: int = -1,
    gradient_at: int = -1,
    **options: Any,
) -> tuple[History, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = Line()

    def draw(step: int, rows: slice) -> tuple[Tensor, float, float]:
        x = torch.randn(4, 4, generator=torch.Generator().manual_seed(step))
        factor = float("nan") if step == loss_at else 1.0
        return x, factor, float("inf") if step == gradient_at else 1.0

    config = TrainingConfig(**{"steps": steps, "batch": 4, "checkpoint_every": 1, **options})
    stage = Stage("line", model, draw, lambda step, results: None, None)
    with accelerated("no", cpu=True) as accelerator:
        history = train_stage(
            stage, config, steps=steps, seed=0, accelerator=accelerator, folder=folder,
            fingerprint="f",
        )  # fmt: skip
    return history, model.state_dict()


def names(folder: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in (folder / "line").iterdir())


def damage_tensors(place: pathlib.Path) -> None:
    data = (place / "state.safetensors").read_bytes()
    (place / "state.safetensors").write_bytes(data[:-9])


def damage_manifest(place: pathlib.Path) -> None:
    (place / "manifest.json").write_bytes(b"{")


def damage_state(place: pathlib.Path) -> None:
    (place / "state.json").write_bytes(b"")


def lose_a_file(place: pathlib.Path) -> None:
    (place / "state.json").unlink()


def lose_the_manifest(place: pathlib.Path) -> None:
    (place / "manifest.json").unlink()


@pytest.mark.parametrize(
    "harm", [damage_tensors, damage_manifest, damage_state, lose_a_file, lose_the_manifest]
)
def test_a_damaged_newest_checkpoint_is_mended_and_said_once(
    harm: Any, tmp_path: pathlib.Path
) -> None:
    whole, weights = train(tmp_path)
    harm(tmp_path / "line" / "step_00000006")
    with pytest.warns(UserWarning, match=r"passed over a damaged .* goes on from step 5$") as said:
        again, others = train(tmp_path)
    assert len(said) == 1
    assert torch.equal(whole.rows, again.rows)
    assert all(torch.equal(weights[k], others[k]) for k in weights)
    assert names(tmp_path) == ["step_00000005", "step_00000006"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path)


def test_without_any_whole_checkpoint_it_begins_anew(tmp_path: pathlib.Path) -> None:
    whole, _ = train(tmp_path)
    for place in (tmp_path / "line").iterdir():
        damage_state(place)
    with pytest.warns(UserWarning, match="goes on from step 0"):
        again, _ = train(tmp_path)
    assert torch.equal(whole.rows, again.rows)
    assert names(tmp_path) == ["step_00000005", "step_00000006"]


def test_foreign_entries_are_never_deleted_nor_crashed_on(tmp_path: pathlib.Path) -> None:
    stage = tmp_path / "line"
    stage.mkdir()
    (stage / "step_notes.txt").write_text("mine")
    (stage / "step_00000001").write_text("mine")
    (stage / "step_00000099").mkdir()
    (stage / "step_00000099" / "thesis.tex").write_text("mine")
    (stage / "step_00000098").mkdir()
    (stage / "step_00000098" / "manifest.json").write_text("[]")
    (stage / "step_1").mkdir()
    (stage / "step_final").symlink_to(tmp_path / "nowhere")
    (stage / ".tmp-mine").mkdir()
    litter = stage / (".tmp-step_00000003-" + "0" * 32)
    litter.mkdir()
    before = set(names(tmp_path)) - {litter.name}
    with pytest.warns(UserWarning, match=r"kept no checkpoint of step 1, for .* is not ours$"):
        train(tmp_path)
    assert before < set(names(tmp_path))
    assert set(names(tmp_path)) - before == {"step_00000005", "step_00000006"}
    assert (stage / "step_00000099" / "thesis.tex").read_text() == "mine"
    shutil.copytree(stage / "step_00000006", stage / "step_00000007")
    (stage / "step_00000007" / "mine.txt").write_text("mine")
    train(tmp_path, steps=6)
    assert (stage / "step_00000007" / "mine.txt").exists()


def test_a_loss_that_is_not_finite_stops_with_the_last_good_checkpoint(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(
        FloatingPointError,
        match=r"^train_stage: the loss of the line stage must stay finite; got nan at step 4 of 6 "
        r"\(terms: loss\); lower learning_rate \(0\.001\); the last good checkpoint is .*0003$",
    ):
        train(tmp_path, loss_at=3)
    assert names(tmp_path) == ["step_00000002", "step_00000003"]
    with pytest.raises(FloatingPointError, match=r"set clip, such as to 1 \(it is 0, none\)"):
        train(None, loss_at=0, clip=0.0)


def test_weights_that_are_not_finite_are_no_checkpoint_and_no_result(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(FloatingPointError, match=r"the weights of the line stage must stay finite"):
        train(tmp_path, gradient_at=3, clip=0.0)
    assert names(tmp_path) == ["step_00000002", "step_00000003"]
    with pytest.raises(FloatingPointError, match=r"got 1 of 2 that are not at step 6 of 6"):
        train(None, gradient_at=5, clip=0.0)


def test_a_kill_amid_a_removal_leaves_nothing_that_looks_like_a_checkpoint(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path)
    assert names(tmp_path) == ["step_00000005", "step_00000006"]
    assert not [name for name in os.listdir(tmp_path / "line") if name.startswith(".tmp")]
