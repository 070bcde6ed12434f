"""Rows of a tokenizer against the metrics, and its codes in a row."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ssltok.evaluation import Report, evaluate
from ssltok.metrics import knn_accuracy, linear_probe_accuracy, svm_probe_accuracy
from ssltok.pipelines import (
    SSLTokenizer,
    loss_by_share,
    shorten,
    tokenizer_measures,
    tokens_of,
)
from tests.evaluation.evaluated import order_of, spread
from tests.pipelines.small import series, small

TRAIN, TEST, MADE = (series(n, seed=seed) for n, seed in ((20, 0), (14, 1), (24, 2)))
LABELS = [["b", "a"][k % 2] for k in range(24)]


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return SSLTokenizer(shorten("demo", steps=3), seed=1).fit(TRAIN, LABELS[:20])


@pytest.fixture(scope="module")
def report(model: SSLTokenizer) -> Report:
    return evaluate(
        TRAIN, TEST, MADE, train_labels=LABELS[:20], test_labels=LABELS[:14],
        generated_labels=LABELS, measures=(tokenizer_measures(model),), seed=5,
    )  # fmt: skip


def numbers(count: int) -> torch.Tensor:
    return torch.tensor(["ab".index(label) for label in LABELS[:count]])


def test_reconstruction_is_the_mean_over_what_is_known(model: SSLTokenizer) -> None:
    holes = TEST.copy()
    holes[0, 0, 5:9] = np.nan
    holes[1, 0, 20:] = np.nan
    report = evaluate(TRAIN, holes, MADE, measures=(tokenizer_measures(model),))
    known = ~np.isnan(holes)
    apart = (np.nan_to_num(model.reconstruct(holes)) - np.nan_to_num(holes))[known]
    assert report["reconstruction MSE"].value == pytest.approx(np.square(apart).mean(), rel=1e-5)
    assert report["reconstruction MAE"].value == pytest.approx(np.abs(apart).mean(), rel=1e-5)
    apart = model.reconstruct(TRAIN) - TRAIN
    row = report["reconstruction MSE"]
    assert row.reference == pytest.approx(np.square(apart).mean(), rel=1e-5)


def test_codes_used_are_those_of_the_training_series(model: SSLTokenizer, report: Report) -> None:
    tokenizer = model.artifact_.tokenizer
    parts = np.split(model.encode(TRAIN), np.cumsum(tokenizer.sizes)[:-1], axis=1)
    counts = [len(np.unique(part)) for part in parts]
    row = report["codes used"]
    size = tokenizer.codebook_size
    assert row.value == pytest.approx(sum(counts) / size / len(counts))
    assert row.note == ", ".join(f"{count} of {size}" for count in counts)
    assert row.cases == 20


def test_padding_is_no_code(model: SSLTokenizer) -> None:
    """Series that end early: their padding does not use the last code."""
    short = TRAIN.copy()
    short[1:, :, 20:] = np.nan
    report = evaluate(short, TEST, MADE, measures=(tokenizer_measures(model),))
    codes = model.encode(short)
    tokenizer = model.artifact_.tokenizer
    parts = np.split(codes, np.cumsum(tokenizer.sizes)[:-1], axis=1)
    assert (codes == -1).any()
    last = tokenizer.codebook_size - 1
    assert last not in parts[-1], "the last code must be free, or the test cannot fail"
    counts = [len(np.unique(part[part >= 0])) for part in parts]
    assert report["codes used"].note == ", ".join(
        f"{count} of {tokenizer.codebook_size}" for count in counts
    )


@pytest.mark.parametrize("view", ["tokens", "mean token"])
def test_probes_are_the_metrics(model: SSLTokenizer, report: Report, view: str) -> None:
    def look(x: Any) -> torch.Tensor:
        vectors = model.token_vectors(x) if view == "tokens" else model.transform(x)
        return torch.from_numpy(vectors).flatten(1)

    sets = look(TRAIN), numbers(20), look(TEST), numbers(14)
    scaled = [torch.from_numpy((x - TRAIN.mean()) / TRAIN.std()).flatten(1) for x in (TRAIN, TEST)]
    plain = scaled[0], numbers(20), scaled[1], numbers(14)
    for name, probe in (
        ("linear probe", linear_probe_accuracy), ("linear SVM", svm_probe_accuracy),
        ("k-NN", knn_accuracy),
    ):  # fmt: skip
        row = report[f"{name} on {view}"]
        assert row.value == pytest.approx(probe(*sets).item())
        assert row.reference == pytest.approx(probe(*plain).item())
        assert row.spread == pytest.approx((row.value * (1 - row.value) / 14) ** 0.5)


def test_the_loss_of_the_prior_knows_the_labels(model: SSLTokenizer, report: Report) -> None:
    found = []
    for name, x, count in (("test", TEST, 14), ("train", TRAIN, 20)):
        values, labels = torch.from_numpy(x), numbers(count)
        order = spread(order_of(name, values, labels, seed=5), labels)
        codes = torch.from_numpy(model.encode(x))[order]
        found.append(loss_by_share(model.artifact_.prior, codes, labels[order], seed=5))
    for share, loss in found[0].items():
        row = report[f"loss of the prior, {100 * share:g} % hidden"]
        assert (row.value, row.reference) == pytest.approx((loss, found[1][share]))


def test_labels_are_those_of_the_model_by_name(model: SSLTokenizer) -> None:
    def loss(train: list[str], test: list[str]) -> Any:
        report = evaluate(
            TRAIN, TEST, MADE, train_labels=train, test_labels=test,
            measures=(tokenizer_measures(model),),
        )  # fmt: skip
        return report["loss of the prior, 100 % hidden"]

    assert loss(["b"] * 20, ["b"] * 14).value == pytest.approx(
        loss(["b"] * 19 + ["a"], ["b"] * 14).value, rel=1e-6
    )  # "b" is the first here and the second in the model
    assert loss(["c"] * 20, ["c"] * 14).skipped == "the model knows no label 'c'"


def test_each_branch_and_each_level_has_codes_of_its_own() -> None:
    books = [torch.eye(5), 2 * torch.eye(5)]
    parts = [SimpleNamespace(quantizer=SimpleNamespace(codebook=book)) for book in books]
    tokenizer = SimpleNamespace(codebook_sizes=((5,), (5,)), sizes=(2, 1), parts=parts)
    stub: Any = SimpleNamespace(
        artifact_=SimpleNamespace(tokenizer=tokenizer),
        encode=lambda x: np.array([[0, -1, 4]]) + x,
    )
    tokens = tokens_of(stub, train=0, test=0, generated=np.array([[4, 0, -4]]))
    assert torch.as_tensor(tokens.train).tolist() == [[0, -1, 9]]
    assert torch.as_tensor(tokens.generated).tolist() == [[4, -1, 5]]
    assert tokens.codebook_size == 10
    assert torch.equal(torch.as_tensor(tokens.codebook), torch.cat(books))
    tokenizer.codebook_sizes, tokenizer.sizes = ((3, 2), (4, 5)), (1, 2)
    stub.encode = lambda x: np.array([[[2, 1], [3, 0], [-1, -1]]])
    tokens = tokens_of(stub, train=0, test=0, generated=0)
    assert torch.as_tensor(tokens.test).tolist() == [[2, 4, 8, 9, -1, -1]]
    assert tokens.codebook_size == 14
    assert tokens.codebook is None  # the books above are of other sizes


def test_the_mean_token_is_that_of_the_whole_series_whatever_transform_averages() -> None:
    """The same weights with three stretches have the same rows, and stay as they are."""
    reports = []
    for stretches in (1, 3):
        model = SSLTokenizer(small(stretches=stretches, steps=1), seed=2).fit(TRAIN)
        report = evaluate(
            TRAIN, TEST, MADE, train_labels=numbers(20), test_labels=numbers(14),
            measures=(tokenizer_measures(model),),
        )  # fmt: skip
        reports.append(report)
        assert model.transform(TEST).shape[1] == stretches * model.artifact_.tokenizer.parts[0].dim
    first, second = (report["linear probe on mean token"].value for report in reports)
    assert first == second > 0
