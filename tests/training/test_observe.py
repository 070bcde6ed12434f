"""Who observes a training sees what its history records, while it lasts, and changes nothing."""

import pathlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from sklearn.base import clone
from torch import nn

from ssltok.augment import gaussian_noise
from ssltok.data import read_series
from ssltok.pipelines import SSLTokenizer
from ssltok.training import History, PretrainConfig, TrainingConfig, VICReg, pretrain
from tests.pipelines.small import series, small
from tests.training.test_engine import same, weights

Seen = list[tuple[str, int, dict[str, float]]]


class Encoder(nn.Module):
    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(33, 4))

    def forward(self, values: torch.Tensor, valid: torch.Tensor | None = None) -> Any:
        return self.net(values)


def fitted(folder: pathlib.Path | None, observe: Any) -> tuple[dict[str, History], Any]:
    model = SSLTokenizer(small(), seed=2, checkpoints=folder, observe=observe).fit(series())
    return model.histories_, weights(model)


def pretrained(folder: pathlib.Path | None, observe: Any) -> tuple[dict[str, History], Any]:
    torch.manual_seed(0)
    config = PretrainConfig(TrainingConfig(steps=3, batch=6, checkpoint_every=1), cpu=True)
    trained = pretrain(
        Encoder(), partial(VICReg, projector_dim=8), read_series(series()), seed=2, folder=folder,
        augment=gaussian_noise, config=config, observe=observe,
    )  # fmt: skip
    return {"pretrain": trained.history}, trained.encoder.state_dict()


WAYS = [fitted, pretrained]
Way = Callable[[pathlib.Path | None, Any], tuple[dict[str, History], Any]]


@pytest.mark.parametrize("train", WAYS)
def test_it_sees_every_row_of_the_history_and_changes_nothing(train: Way) -> None:
    seen: Seen = []

    def observe(stage: str, step: int, terms: dict[str, float]) -> None:
        seen.append((stage, step, dict(terms)))
        torch.rand(step + 1)  # what it draws is nobody's business
        terms.clear()

    histories, observed = train(None, observe)
    plain, unobserved = train(None, None)
    wanted = [
        (stage, step, dict(zip(history.names, row.tolist(), strict=True)))
        for stage, history in histories.items()
        for step, row in enumerate(history.rows)
    ]
    assert seen == wanted
    assert all(terms for _, _, terms in seen)
    assert same(observed, unobserved)
    assert all(torch.equal(histories[k].rows, plain[k].rows) for k in plain)


@pytest.mark.parametrize("train", WAYS)
def test_after_an_error_it_sees_what_is_left(train: Way, tmp_path: pathlib.Path) -> None:
    class FullError(RuntimeError):
        pass

    def fail(stage: str, step: int, terms: dict[str, float]) -> None:
        if step == 2:
            raise FullError(f"{stage} has no room for step {step}")

    with pytest.raises(FullError, match="no room for step 2"):
        train(tmp_path, fail)
    seen: Seen = []
    _, resumed = train(tmp_path, lambda *what: seen.append(what))
    first = seen[0][0]
    assert [step for stage, step, _ in seen if stage == first] == [2], "two steps had been kept"
    assert same(resumed, train(None, None)[1])


def test_tensorboard_and_an_observer_get_the_same_figures(tmp_path: pathlib.Path) -> None:
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    seen: Seen = []
    train = SSLTokenizer(small(), checkpoints=tmp_path, observe=lambda *what: seen.append(what))
    train.fit(series())
    for stage in ("tokenizer", "prior"):
        curves = event.EventAccumulator(str(tmp_path / "tensorboard" / stage)).Reload()
        rows = [(step, terms) for name, step, terms in seen if name == stage]
        assert set(curves.Tags()["scalars"]) == set(rows[0][1])
        for term in rows[0][1]:
            points = [(point.step, point.value) for point in curves.Scalars(term)]
            assert points == [(step, pytest.approx(terms[term])) for step, terms in rows]


def test_an_estimator_with_an_observer_is_cloned_and_saved(tmp_path: pathlib.Path) -> None:
    seen: Seen = []

    def observe(stage: str, step: int, terms: dict[str, float]) -> None:
        seen.append((stage, step, terms))

    model = SSLTokenizer(small(1), observe=observe)
    assert clone(model).observe is observe
    model.fit(series()).save(tmp_path / "model")
    assert [stage for stage, _, _ in seen] == ["tokenizer", "prior"]
    assert SSLTokenizer.load(tmp_path / "model").observe is None
