"""Training: the same bits twice, after any kill, with any workers; and two processes as one."""

import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.pipelines import SSLTokenizer
from ssltok.training._sync_norm import SyncedBatchNorm, synchronize_norms
from tests.pipelines.small import series, small, varied
from tests.ranks import Ranks

ROOT = pathlib.Path(__file__).parents[2]
LABELS = ["a", "b"] * 5


def weights(model: SSLTokenizer) -> dict[str, Tensor]:
    parts = {"tokenizer": model.artifact_.tokenizer, "prior": model.artifact_.prior}
    return {f"{n}.{k}": v for n, part in parts.items() for k, v in part.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


def test_same_seed_same_bits_whatever_the_workers() -> None:
    noise = torch.get_rng_state()
    runs = []
    for workers in (0, 1, 2):
        config = varied(small(), workers=workers)
        runs.append(SSLTokenizer(config, seed=3).fit(series(), LABELS))
        torch.randn(5)  # what happened before must not matter
    assert same(weights(runs[0]), weights(runs[1]))
    assert same(weights(runs[0]), weights(runs[2]))
    samples = [run.sample(2, label="b", seed=4) for run in runs]
    assert (samples[0] == samples[1]).all()
    other = SSLTokenizer(small(), seed=4).fit(series(), LABELS)
    assert not same(weights(runs[0]), weights(other))
    torch.set_rng_state(noise)


def test_fit_leaves_the_random_state_alone() -> None:
    noise = torch.get_rng_state()
    SSLTokenizer(small(steps=1)).fit(series())
    assert torch.equal(noise, torch.get_rng_state())


def test_stage_two_leaves_the_tokenizer_bit_identical() -> None:
    short = SSLTokenizer(small()).fit(series(), LABELS)
    config = small()
    longer = varied(config, prior_training=config.prior_training.__class__(steps=9, batch=6))
    long = SSLTokenizer(longer).fit(series(), LABELS)
    own = [{k: v for k, v in weights(m).items() if k.startswith("tok")} for m in (short, long)]
    assert same(*own)
    assert not same(weights(short), weights(long))


def test_accumulation_and_two_views_train() -> None:
    config = small(steps=2)
    training = config.tokenizer_training.__class__(steps=2, batch=6, accumulation=3)
    model = SSLTokenizer(varied(config, tokenizer_training=training)).fit(series())
    rows = model.histories_["tokenizer"].rows
    assert rows.shape[0] == 2, "three rounds are one step"
    assert bool(rows.isfinite().all())
    whole = SSLTokenizer(small(steps=2)).fit(series())
    assert not torch.equal(rows, whole.histories_["tokenizer"].rows)


def test_mixed_precision_trains_close_to_full() -> None:
    full = SSLTokenizer(small(steps=4)).fit(series())
    mixed = SSLTokenizer(varied(small(steps=4), precision="bf16")).fit(series())
    assert not same(weights(full), weights(mixed))
    for stage in ("tokenizer", "prior"):
        first, second = (run.histories_[stage].rows[0, 0] for run in (full, mixed))
        torch.testing.assert_close(first, second, rtol=0.05, atol=0.0)
        assert bool(mixed.histories_[stage].rows.isfinite().all())
    assert all(v.dtype != torch.bfloat16 for v in weights(mixed).values())


def test_early_stop_keeps_the_best() -> None:
    config = small(steps=40)
    training = config.tokenizer_training.__class__(
        steps=40, batch=6, holdout_ratio=0.3, validate_every=1, patience=2, learning_rate=0.3
    )
    model = SSLTokenizer(varied(config, tokenizer_training=training)).fit(series())
    assert len(model.histories_["tokenizer"].rows) < 40


def run_to_the_end(checkpoints: str, out: str) -> None:
    torch.set_num_threads(1)
    model = SSLTokenizer(small(steps=12), seed=5, checkpoints=checkpoints)
    model.fit(series(), LABELS)
    model.save(out)


def test_killed_ten_times_at_random_it_ends_with_the_same_bits(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def start(checkpoints: str, out: str) -> Any:
        names = (str(tmp_path / checkpoints), str(tmp_path / out))
        process = context.Process(target=run_to_the_end, args=names)
        process.start()
        return process

    start("warm", "up").join()  # the server has loaded everything
    began = time.monotonic()
    calm = start("calm", "whole")
    calm.join()
    assert calm.exitcode == 0
    span = time.monotonic() - began
    moments, kills, code = random.Random(0), 0, None
    while code != 0:
        process = start("storm", "resumed")
        if kills < 10:
            process.join(timeout=moments.uniform(0.05, 0.5) * span)
            process.kill()
        process.join()
        code = process.exitcode
        kills += code == -signal.SIGKILL
        assert code in (0, -signal.SIGKILL)
        if code == 0 and kills < 10:  # it was faster than the storm: a new storm
            for name in ("storm", "resumed"):
                shutil.rmtree(tmp_path / name)
            code = None
    whole = SSLTokenizer.load(tmp_path / "whole")
    resumed = SSLTokenizer.load(tmp_path / "resumed")
    assert same(weights(whole), weights(resumed))
    assert not list((tmp_path / "storm").rglob(".tmp-*"))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: pathlib.Path) -> None:
    SSLTokenizer(small(), checkpoints=tmp_path).fit(series(), LABELS)
    with pytest.raises(ValueError, match=r"checkpoints must belong to this run .*; got another"):
        SSLTokenizer(small(), seed=1, checkpoints=tmp_path).fit(series(), LABELS)


def test_a_damaged_checkpoint_is_passed_over_aloud(tmp_path: pathlib.Path) -> None:
    first = SSLTokenizer(small(), checkpoints=tmp_path).fit(series(), LABELS)
    newest = sorted((tmp_path / "prior").iterdir())[-1]
    data = (newest / "state.safetensors").read_bytes()
    (newest / "state.safetensors").write_bytes(data[:-9])
    with pytest.warns(UserWarning, match=r"passed over a damaged checkpoint .*state.safetensors"):
        again = SSLTokenizer(small(), checkpoints=tmp_path).fit(series(), LABELS)
    assert same(weights(first), weights(again))


def trained(place: str, number: int, world: int) -> None:
    launched = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": world}
    if world > 1:  # a rank's process is this test's alone while it runs, and is left as it was
        os.environ |= {key: str(value) for key, value in launched.items()}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}
    model = SSLTokenizer(small(steps=4), seed=2, cpu=True).fit(series(), ["a", "b"] * 5)
    model.save(f"{place}{number}")
    for key in (*launched, "MASTER_ADDR", "MASTER_PORT") if world > 1 else ():
        del os.environ[key]


def test_two_processes_equal_one(two_ranks: Ranks, tmp_path: pathlib.Path) -> None:
    """`torchrun` starts those of test_shared_state.py and of tests/cli/test_window_runs.py."""
    trained(str(tmp_path / "one"), 0, 1)
    two_ranks.run(trained, *[(str(tmp_path / "two"), rank, 2) for rank in range(2)])
    one, first, second = (
        weights(SSLTokenizer.load(tmp_path / name)) for name in ("one0", "two0", "two1")
    )
    assert same(first, second)
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, atol=2e-5, rtol=1e-4)


def _normed(seed: int, rows: slice, synced: bool) -> tuple[Tensor, ...]:
    torch.manual_seed(seed)
    x = (3 * torch.randn(7, 4, 3, dtype=torch.float64) + 1)[rows].requires_grad_()
    target = torch.randn(7, 4, 3, dtype=torch.float64)[rows]
    norm: Any = nn.Sequential(nn.BatchNorm1d(4, dtype=torch.float64))
    with torch.no_grad():
        norm[0].weight.copy_(torch.arange(4) + 0.5)
    if synced:
        synchronize_norms(norm)
        assert isinstance(norm[0], SyncedBatchNorm)
    (norm(x) * target).sum().backward()
    grad: Any = norm[0].weight.grad
    return x.grad, grad, norm[0].running_mean, norm[0].running_var  # type: ignore[return-value]


def test_synced_norm_is_the_norm_of_the_whole_batch(two_ranks: Ranks) -> None:
    parts = two_ranks.run(_normed, (1, slice(0, 3), True), (1, slice(3, 7), True))
    whole = _normed(1, slice(0, 7), False)
    torch.testing.assert_close(torch.cat([p[0] for p in parts]), whole[0])
    torch.testing.assert_close(parts[0][1] + parts[1][1], whole[1])
    for part in parts:
        torch.testing.assert_close(part[2], whole[2])
        torch.testing.assert_close(part[3], whole[3])
    alone = _normed(1, slice(0, 7), True)
    for a, b in zip(alone, whole, strict=True):
        torch.testing.assert_close(a, b)
