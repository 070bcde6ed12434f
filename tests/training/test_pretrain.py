"""An encoder alone by the engine of the stages: against a loop by hand, resumed, on two ranks."""

import copy
import os
import pathlib
import shutil
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssltok.augment import compose, gaussian_noise, shift
from ssltok.data import ArraySource, SeriesSet, WindowSource, read_series, read_source
from ssltok.optim import warmup_cosine_schedule
from ssltok.training import (
    BYOL,
    ObjectiveBatch,
    PretrainConfig,
    SupCon,
    TrainingConfig,
    VICReg,
    hold_out,
    keyed_generator,
    keyed_seed,
    ordered_batch,
    pretrain,
    view_generators,
)
from tests.pipelines.small import series
from tests.ranks import Ranks

AUGMENT = compose(shift, gaussian_noise)
BYOL_SMALL = partial(BYOL, projector_dim=4, hidden_dim=6, predictor_dim=5, momentum=0.9)
STEPS = 4


class Encoder(nn.Module):
    """Means of a convolution over what is real; no BatchNorm, so ranks need none in common."""

    dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(1, 5, 3, padding=1)
        self.drop = nn.Dropout(0.2)
        self.seen: list[Tensor | None] = []

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        self.seen.append(valid)
        real = torch.ones_like(x[:, 0]) if valid is None else valid.to(x.dtype)
        features = self.drop(self.line(x * real[:, None])) * real[:, None]
        means: Tensor = features.sum(2) / real.sum(1, keepdim=True)
        return means


def encoder() -> Encoder:
    torch.manual_seed(5)
    return Encoder()


def data(cases: int = 12, length: int = 20) -> SeriesSet:
    return read_series(torch.from_numpy(series(cases, length=length)) - 5)


def config(**changes: Any) -> PretrainConfig:
    options: dict[str, Any] = {"steps": STEPS, "batch": 6, "checkpoint_every": 1, "clip": 0.0}
    return PretrainConfig(TrainingConfig(**{**options, **changes}), cpu=True)


def same(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_the_engine_is_the_loop_by_hand() -> None:
    """Order, views, draws, learning rate and teacher as they are said, with torch's own AdamW."""
    found, seed = data(), 3
    quiet = encoder()
    quiet.drop.p = 0.0
    trained = pretrain(quiet, BYOL_SMALL, found, augment=AUGMENT, config=config(), seed=seed)

    by_hand = copy.deepcopy(quiet).train()
    state = torch.get_rng_state()
    torch.manual_seed(keyed_seed(seed, "weights"))
    objective = BYOL_SMALL(by_hand).train()
    torch.set_rng_state(state)
    weights = [*by_hand.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    optimizer = torch.optim.AdamW(weights, weight_decay=1e-3)
    within = torch.ones(6, 20, dtype=torch.bool)
    for step in range(STEPS):
        rows = ordered_batch(12, 6, seed=seed, purpose="pretrain-order", step=step)
        values = found.values[rows]
        views = [AUGMENT(values, valid=within, generator=g) for g in view_generators(seed, step, 2)]
        output = objective(by_hand, ObjectiveBatch(tuple(views)))
        optimizer.zero_grad()
        output.loss.backward()
        rate = warmup_cosine_schedule(
            step, steps=STEPS, start=1e-3, warmup_steps=0, warmup_start=1e-3
        )
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        objective.update(by_hand, output.memory)
        torch.testing.assert_close(trained.history.rows[step, 0], output.loss.detach())
    for key, value in by_hand.state_dict().items():
        torch.testing.assert_close(trained.encoder.state_dict()[key], value)
    for key, value in objective.state_dict().items():
        torch.testing.assert_close(trained.objective.state_dict()[key], value)


def test_the_callers_modules_and_torchs_stream_are_left_alone() -> None:
    own = encoder()
    built = BYOL_SMALL(own)
    before = copy.deepcopy((own.state_dict(), built.state_dict()))
    stream = torch.get_rng_state()
    trained = pretrain(own, built, data(), augment=AUGMENT, config=config())
    assert torch.equal(stream, torch.get_rng_state())
    for module, state in zip((own, built), before, strict=True):
        assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())
    assert not same(trained.encoder, own)
    assert not trained.encoder.training


def test_killed_anywhere_it_ends_with_the_same_bits(tmp_path: pathlib.Path) -> None:
    options: dict[str, Any] = {"augment": AUGMENT, "config": config(), "seed": 2}
    whole = pretrain(encoder(), BYOL_SMALL, data(), folder=tmp_path / "kept", **options)
    for last in (3, 4):
        shutil.rmtree(tmp_path / "kept" / "pretrain" / f"step_{last:08d}")
        again = pretrain(encoder(), BYOL_SMALL, data(), folder=tmp_path / "kept", **options)
        assert same(whole.encoder, again.encoder)
        assert same(whole.objective, again.objective)
        assert torch.equal(whole.history.rows, again.history.rows)


@pytest.mark.parametrize(
    "changed",
    [
        {"augment": shift},
        {"objective": partial(BYOL_SMALL, momentum=0.8)},
        {"seed": 3},
        {"labels": torch.arange(12) % 2},
        {"config": config(learning_rate=2e-3)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_checkpoints_of_another_run_are_refused(
    tmp_path: pathlib.Path, changed: dict[str, Any]
) -> None:
    plain = {"objective": BYOL_SMALL, "data": data(), "augment": AUGMENT, "config": config()}
    pretrain(encoder(), folder=tmp_path, **plain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="checkpoints must belong to this run"):
        pretrain(encoder(), folder=tmp_path, **{**plain, **changed})


def test_labels_padding_and_held_out_series_reach_their_places() -> None:
    lengths = [20, 15, 20, 9] * 3
    ragged = read_series([torch.from_numpy(x[:, :n]) for x, n in zip(series(12, length=20), lengths,
                                                                   strict=True)])  # fmt: skip
    own = encoder()
    training = config(holdout_ratio=0.25, patience=2, validate_every=1)
    options: dict[str, Any] = {"augment": gaussian_noise, "config": training}
    labels = torch.arange(12) // 4
    objective = partial(SupCon, projector_dim=4, hidden_dim=6)
    trained = pretrain(own, objective, ragged, labels=labels, **options)
    seen = getattr(trained.encoder, "seen")  # noqa: B009
    assert all(valid is not None for valid in seen)
    parts = hold_out(12, training.training, seed=0)
    real = {tuple(sorted(valid.sum(1).tolist())) for valid in seen}
    held = tuple(sorted(ragged.lengths[parts.held].repeat(2).tolist()))
    assert held in real
    other = pretrain(own, objective, ragged, labels=torch.arange(12) % 3, **options)
    assert not same(trained.encoder, other.encoder)


def test_complaints_come_first() -> None:
    with pytest.raises(ValueError, match="augment must make the 2 views that VICReg compares; got"):
        pretrain(encoder(), partial(VICReg, projector_dim=4), data(), config=config())
    with pytest.raises(ValueError, match="labels must be 12, as many as series; got 5"):
        pretrain(encoder(), BYOL_SMALL, data(), augment=AUGMENT, labels=torch.arange(5))
    with pytest.raises(TypeError, match=r"data must be a SeriesSet, .* or a source; got Tensor"):
        pretrain(encoder(), BYOL_SMALL, data().values, augment=AUGMENT)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pretrain: holdout_ratio must leave at least one"):
        pretrain(encoder(), BYOL_SMALL, data(), augment=AUGMENT, config=config(holdout_ratio=0.01))


def on_a_rank(rank: int, world: int, source: bool = False) -> dict[str, Tensor]:
    places = {
        "WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "localhost", "MASTER_PORT": "29513",
    }  # fmt: skip
    if world == 1:
        places = {"WORLD_SIZE": "1"}
    with patch.dict(os.environ, places):
        quiet = encoder()
        quiet.drop.p = 0.0
        part: Any = data()
        part = ArraySource(part.values.numpy()) if source else part
        trained = pretrain(quiet, BYOL_SMALL, part, augment=AUGMENT, config=config(), seed=1)
    # Not the bias: the projector's BatchNorm removes it, so its gradient is rounding and Adam's
    # steps of it are the sign of that.
    return {"weight": trained.encoder.state_dict()["line.weight"], "loss": trained.history.rows}


def test_two_processes_are_one(two_ranks: Ranks) -> None:
    one = on_a_rank(0, 1)
    both = two_ranks.run(on_a_rank, (0, 2), (1, 2))
    sources = two_ranks.run(on_a_rank, (0, 2, True), (1, 2, True))
    for state, other in zip(both, sources, strict=True):
        assert all(torch.equal(other[key], value) for key, value in state.items())
        for key, value in one.items():
            torch.testing.assert_close(state[key], value, atol=2e-5, rtol=2e-3)


def scaled(part: SeriesSet) -> SeriesSet:
    return part._replace(values=part.values / 2)


@pytest.mark.parametrize("way", ["array", "source", "changed", "windows"])
def test_series_on_disk_are_those_in_memory(way: str, tmp_path: pathlib.Path) -> None:
    x = series(12, length=20) - 5
    x[3, :, 15:] = x[4, 0, 3:8] = np.nan
    if way == "windows":
        x = np.stack([x[0, :, k : k + 9] for k in range(0, 12, 2)])
    np.save(tmp_path / "X.npy", x)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    other = {
        "array": mapped,
        "source": ArraySource(mapped),
        "changed": read_source(mapped).changed(scaled),
        "windows": WindowSource((series(12, length=20) - 5)[0], 9, 2),
    }[way]
    memory = scaled(read_series(x)) if way == "changed" else read_series(x)
    training = config(holdout_ratio=0.25, patience=2, validate_every=1)
    options: dict[str, Any] = {"augment": AUGMENT, "seed": 2, "config": training}
    first, second = (pretrain(encoder(), BYOL_SMALL, part, **options) for part in (memory, other))
    assert same(first.encoder, second.encoder)
    assert same(first.objective, second.objective)
    assert torch.equal(first.history.rows, second.history.rows)


class OneView(nn.Module):
    """An objective without any noise; it is never called here."""

    views = 1

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.head = nn.Linear(int(encoder.dim), 1)  # type: ignore[arg-type]

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.rand(rows, generator=generator),)


def test_without_an_augment_a_process_reads_its_own_rows() -> None:
    class Watched(ArraySource):
        def take(self, rows: Any) -> Any:
            read.append(len(np.arange(len(self))[rows]))
            return super().take(rows)

    read: list[int] = []
    shares: list[ObjectiveBatch] = []

    def train_stage(stage: Any, *rest: Any, **options: Any) -> Any:
        read.clear()
        shares.append(stage.draw(0, slice(2, 4)))
        raise InterruptedError

    for part in (read_series(series(12, length=20)), Watched(series(12, length=20))):
        with (
            patch("ssltok.training._pretrain.train_stage", train_stage),
            pytest.raises(InterruptedError),
        ):
            pretrain(encoder(), OneView, part, config=config())
    assert read == [2]
    assert torch.equal(shares[0].views[0], shares[1].views[0])


def test_a_change_of_the_series_is_another_run() -> None:
    plain = read_source(ArraySource(series(12, length=20)))
    digests = {plain.digest(), plain.changed(scaled).digest(), plain.changed(copy.copy).digest()}
    assert len(digests) == 3


def test_keyed_draws_differ_between_steps() -> None:
    draws = [torch.rand(3, generator=keyed_generator(0, "objective", step)) for step in (0, 1)]
    assert not torch.equal(*draws)
