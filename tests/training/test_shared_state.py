"""What the engine shares with the program around it: accelerate's state, torch's stream, ranks."""

import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssltok.nn import ValidBatchNorm1d
from ssltok.pipelines import SSLTokenizer
from ssltok.training import Stage, TrainingConfig, accelerated, seeded, train_stage
from ssltok.training._sync_norm import synchronize_norms
from tests.pipelines.small import series, small
from tests.ranks import Ranks


@pytest.mark.parametrize("fails", [False, True])
def test_the_programs_own_engine_is_as_it_was(fails: bool) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    own = Accelerator(cpu=True, gradient_accumulation_steps=3)
    states = (AcceleratorState, GradientState, PartialState)
    before = [dict(state._shared_state) for state in states]
    try:
        with accelerated("no", cpu=True) as engine:
            assert engine.gradient_accumulation_steps == 1
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert [dict(state._shared_state) for state in states] == before
    assert own.gradient_accumulation_steps == 3
    assert own.num_processes == 1
    for state in states:
        state._shared_state.clear()


def test_two_fits_in_two_threads_are_two_fits() -> None:
    """Dropout draws from torch's own stream, which threads share: they take turns at it."""
    config = small(steps=6)
    dropout = {"preset__prior__dropout": 0.3}

    def fit(seed: int, results: dict[int, Any]) -> None:
        model = SSLTokenizer(config, seed=seed, cpu=True).set_params(**dropout)
        results[seed] = model.fit(series()).artifact_.prior.state_dict()

    alone: dict[int, Any] = {}
    together: dict[int, Any] = {}
    for seed in (0, 1):
        fit(seed, alone)
    threads = [threading.Thread(target=fit, args=(seed, together)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (0, 1):
        assert all(torch.equal(v, together[seed][k]) for k, v in alone[seed].items())


def test_threads_take_turns_at_torchs_stream() -> None:
    def draw(seed: int, results: dict[int, Tensor]) -> None:
        with seeded(seed):
            drawn = []
            for _ in range(20):
                drawn.append(torch.rand(3))
                time.sleep(0.001)
        results[seed] = torch.stack(drawn)

    alone: dict[int, Tensor] = {}
    together: dict[int, Tensor] = {}
    for seed in (0, 1):
        draw(seed, alone)
    threads = [threading.Thread(target=draw, args=(seed, together)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(alone[seed], together[seed]) for seed in (0, 1))


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, -1.0]))

    def forward(self, rows: Tensor) -> Any:
        from typing import NamedTuple

        class Result(NamedTuple):
            loss: Tensor
            logged: dict[str, Tensor]

        loss = ((rows * self.weight).sum(1) - 1).square().mean()
        return Result(loss, {"loss": loss})


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_rounds_of_accumulation_are_one_batch(clip: float) -> None:
    rows = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 0.2])
    weights = []
    for accumulation in (1, 3):
        line = Line()
        gradients: list[Tensor] = []
        line.weight.register_hook(gradients.append)
        stage = Stage("line", line, lambda step, part: rows[part], lambda step, out: None, None)
        config = TrainingConfig(steps=3, batch=6, accumulation=accumulation, clip=clip)
        with accelerated("no", cpu=True) as engine:
            history = train_stage(stage, config, steps=3, seed=0, accelerator=engine)
        # AdamW forgets the size of a gradient, so that is looked at too.
        first = torch.stack(gradients[:accumulation]).sum(0)
        weights.append((line.weight.detach(), history.rows, first))
    for one, three in zip(*weights, strict=True):
        torch.testing.assert_close(one, three)


def test_the_documented_torchrun_line_on_a_machine_as_it_is(tmp_path: pathlib.Path) -> None:
    """No variable, no option: without an accelerator the engine stays on the CPU by itself."""
    np.savez(tmp_path / "waves.npz", X=series(8), y=[0, 1] * 4)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ACCELERATE")}
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "ssltok", "fit", "--data", "waves.npz", "--out", "model", "--steps", "1", "--quiet",
         "--tokenizer.dim", "4", "--tokenizer.blocks", "0", "--tokenizer.projector-dim", "4"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert SSLTokenizer.load(tmp_path / "model").encode(series(8)).shape[0] == 8


def normed(rows: slice, synced: bool) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, 7, generator=generator, dtype=torch.float64) * 4 + 2
    target = torch.randn(5, 3, 7, generator=generator, dtype=torch.float64)[rows]
    valid = torch.arange(7) < torch.tensor([7, 3, 5, 7, 1])[:, None]
    x, valid = torch.where(valid[:, None], x, 1e3)[rows].requires_grad_(), valid[rows]
    norm: Any = nn.ModuleList([ValidBatchNorm1d(3).double()])
    if synced:
        synchronize_norms(norm)
    out = norm[0](x, valid)
    (out * target).sum().backward()
    weight = norm[0].weight.grad
    evaluated = norm.eval()[0](x, valid).detach()
    assert x.grad is not None
    return out.detach(), x.grad, weight, norm[0].running_mean, norm[0].running_var, evaluated


def test_synchronised_norms_leave_padding_out(two_ranks: Ranks) -> None:
    whole = normed(slice(None), False)
    parts = [slice(0, 2), slice(2, 5)]
    results = two_ranks.run(normed, *((part, True) for part in parts))
    for part, (out, grad, _, mean, var, evaluated) in zip(parts, results, strict=True):
        torch.testing.assert_close(out, whole[0][part])
        torch.testing.assert_close(grad, whole[1][part])
        torch.testing.assert_close(mean, whole[3])
        torch.testing.assert_close(var, whole[4])
        torch.testing.assert_close(evaluated, whole[5][part])
    torch.testing.assert_close(results[0][2] + results[1][2], whole[2])
