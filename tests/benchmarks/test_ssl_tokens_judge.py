"""The study's arms, splits, probes and judge."""

import pytest
import torch
from benchmarks.studies.ssl_tokens.arms import MAIN, build_arm
from benchmarks.studies.ssl_tokens.data import make_split, stratified_part
from benchmarks.studies.ssl_tokens.judge import ROWS, Judge, JudgeSettings
from benchmarks.studies.ssl_tokens.probes import probe_accuracies
from sklearn.preprocessing import StandardScaler

from ssltok.metrics import knn_accuracy, linear_probe_accuracy, svm_probe_accuracy
from tests.benchmarks.small import toy
from tests.pipelines.small import series

JUDGE = JudgeSettings(fcn_steps=3, fcn_width=4, kernels=20, most_frechet=10, most_generated=24)


def test_validation_never_opens_the_test_part() -> None:
    data = toy()._replace(test=object(), test_labels=[None])
    first, second = (
        make_split("toy", data, kind="validation", seed=seed, most_test=3) for seed in (0, 1)
    )
    assert len(first.train_labels) == 8
    assert len(first.test_labels) == 4
    assert first.test_labels.bincount().tolist() == [2, 2]
    both = torch.cat([first.train.values, first.test.values]).flatten(1)
    whole = torch.from_numpy(toy().train).flatten(1)
    assert sorted(both.sum(1).tolist()) == sorted(whole.sum(1).tolist())
    assert first.digest() != second.digest()


@pytest.mark.parametrize("dim", [3, 40])
def test_probes_are_those_of_the_library(dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    labels, truth = torch.arange(21) % 3, torch.arange(60) % 3
    centres = 1.2 * torch.randn(3, dim, generator=generator)
    scales = torch.logspace(-2, 2, dim)
    train = (centres[labels] + torch.randn(21, dim, generator=generator)) * scales
    test = (centres[truth] + torch.randn(60, dim, generator=generator)) * scales
    train[:, 0], test[:, 0] = 0.1, 7.0  # constant in training: it says nothing
    found = probe_accuracies(train, labels, test, truth)
    scaler = StandardScaler().fit(train[:, 1:].double().numpy())
    a, b = (torch.from_numpy(scaler.transform(x[:, 1:].double().numpy())) for x in (train, test))
    assert found["linear"] == float(linear_probe_accuracy(a, labels, b, truth))
    assert found["svm"] == float(svm_probe_accuracy(a, labels, b, truth))
    assert found["knn"] == float(knn_accuracy(a, labels, b, truth, neighbors=5))
    assert 0.4 < found["linear"] < 1


def test_the_judge_knows_good_from_bad() -> None:
    split = make_split("toy", toy(40, 60), kind="test", seed=0, most_test=60)
    settings = JUDGE._replace(fcn_steps=60, fcn_width=8, most_frechet=40, most_generated=80)
    judge = Judge(split, settings)
    assert judge.wanted.tolist() == split.train_labels[judge.own].repeat(2).tolist()
    good = torch.from_numpy(series(80, seed=5))
    labels = torch.arange(80) % 2
    noise = torch.randn(good.shape, generator=torch.Generator().manual_seed(0)) * 3 + 5
    fine, poor = (judge.figures(x, labels) for x in (good, noise))
    assert fine["fid"] < 0.2 * poor["fid"]
    assert fine["fid_rocket"] < 0.2 * poor["fid_rocket"]
    assert fine["cas"] > 0.9 > 0.75 > poor["cas"]
    assert fine["is"] > poor["is"]
    assert judge.floor["cas"] > 0.9
    assert judge.floor["fid"] < 0.2 * poor["fid"]
    wrong = judge.figures(good, 1 - labels)
    assert wrong["cas"] < 0.1
    assert wrong["recognised"] < 0.1
    assert set(judge.floor) == set(fine) == set(ROWS)
    report = judge.report(good, labels)  # the floor does not depend on what is judged
    assert judge.floor == {column: report[name].reference for column, name in ROWS.items()}
    assert judge.cases == {column: report[ROWS[column]].cases for column in judge.cases}
    assert judge.cases["fid"] == 30  # half of the test series


def test_parts_are_balanced() -> None:
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 2)
    generator = torch.Generator().manual_seed(0)
    some = stratified_part(labels, 0.4, generator)
    assert labels[some].bincount(minlength=3).tolist() == [4, 2, 0]
    some = stratified_part(labels, 0.2, generator, whole_if_small=False)
    assert labels[some].bincount(minlength=3).tolist() == [2, 1, 1]
    assert stratified_part(labels, 1.0, generator).tolist() == list(range(17))


def test_names_of_arms() -> None:
    assert len({build_arm(name).config for name in MAIN}) == len(MAIN)
    arm = build_arm("two+vicreg+slice:codes=64,prior.dropout=0.1,tokenizer.widths=4/9,share=0.3")
    tokenizer = arm.config.tokenizer
    assert (tokenizer.ssl, tokenizer.augmentation, tokenizer.ssl_weight) == (
        "vicreg",
        "slice",
        0.01,
    )
    assert tokenizer.codebook_size == 64
    assert tokenizer.widths == (4, 9)
    assert arm.config.prior.dropout == 0.1
    assert arm.share == 0.3
    assert build_arm("demo:guidance=3").config.decoding.guidance == 3.0
    assert build_arm("ssltok").config == build_arm("compact").config
    arm = build_arm("one:mask=inverted,head=tied,codes=16,order=halton,paid=all")
    assert arm.changes == (
        ("mask", "inverted"),
        ("head", "tied"),
        ("order", "halton"),
        ("paid", "all"),
    )
    assert arm.config.prior.tied
    assert arm.parts.everywhere
    assert (arm.parts.mask, arm.parts.order) != (None, None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("three", "an arm begins with one, two or a preset; got 'three'"),
        ("fit", "fit must be a preset|an arm begins with|missing"),
        ("one+barlow_twins", "an SSL arm names a loss and an augmentation"),
        ("one+magic+warp", "ssl must be one of"),
        ("one+vicreg+flip", "augmentation must be one of warp, slice, gauss; got 'flip'"),
        ("one:codebook=3", "a change is a field or one of"),
        ("one:mask=upside", r"mask must be one of \('cosine', 'inverted'\); got 'upside'"),
        ("one:start=zero", "start must be one of codebook, noise; got 'zero'"),
        ("DecodingConfig", "DecodingConfig must be a preset; got DecodingConfig"),
    ],
)
def test_names_that_mean_nothing(name: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build_arm(name)
