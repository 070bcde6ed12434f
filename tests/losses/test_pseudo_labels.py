"""Pseudo-labels of a noisy student's teacher."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ssltok.losses import pseudo_labels


def some(batch: int, classes: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, classes, generator=generator, dtype=torch.float64)


# Oracle ---------------------------------------------------------------------------------------


@given(
    st.integers(1, 30),
    st.integers(1, 5),
    st.floats(0, 1),
    st.none() | st.integers(1, 8),
    st.integers(0, 99),
)
def test_series_are_chosen_class_by_class(
    batch: int, classes: int, threshold: float, per_class: int | None, seed: int
) -> None:
    logits = some(batch, classes, seed)
    found = pseudo_labels(logits, threshold=threshold, per_class=per_class)
    p = [[float(v) for v in row.exp() / row.exp().sum()] for row in logits]
    by_class: dict[int, list[int]] = {}
    for i, row in enumerate(p):
        label = max(range(classes), key=lambda k: row[k])
        assert int(found.labels[i]) == label
        assert float(found.confidence[i]) == pytest.approx(row[label])
        assert found.probabilities[i].tolist() == pytest.approx(row)
        if float(found.confidence[i]) > threshold:
            by_class.setdefault(label, []).append(i)
    kept: dict[int, list[int]] = {}
    for label, members in by_class.items():
        ranked = sorted(members, key=lambda i: -float(found.confidence[i]))
        kept[label] = ranked[:per_class]
    everyone = sorted(i for members in kept.values() for i in members)
    assert found.keep.nonzero().flatten().tolist() == everyone
    for i in range(batch):
        own = kept.get(int(found.labels[i]), [])
        weight = len(everyone) / len(kept) / len(own) if i in own else 0.0
        assert float(found.weights[i]) == pytest.approx(weight)


# Known values ---------------------------------------------------------------------------------


def test_ties_are_broken_by_place_and_the_count_is_exact() -> None:
    logits = torch.tensor([[5.0, 0.0]] * 6 + [[0.0, 5.0]] * 2)
    found = pseudo_labels(logits, per_class=3)
    assert found.keep.tolist() == [True] * 3 + [False] * 3 + [True] * 2
    assert found.weights.tolist() == pytest.approx([5 / 6] * 3 + [0] * 3 + [5 / 4] * 2)


def test_nothing_sure_keeps_nothing() -> None:
    found = pseudo_labels(torch.zeros(4, 5), threshold=0.3)
    assert not found.keep.any()
    assert (found.weights == 0).all()


def test_the_threshold_is_exclusive() -> None:
    assert not pseudo_labels(torch.zeros(1, 2), threshold=0.5).keep.any()
    assert pseudo_labels(torch.zeros(1, 2), threshold=0.49).keep.all()


# Laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_class", [None, 4])
def test_weights_are_balanced(per_class: int | None) -> None:
    found = pseudo_labels(some(200, 5, 1), threshold=0.5, per_class=per_class)
    assert float(found.weights[found.keep].mean()) == pytest.approx(1)
    sums = torch.stack([found.weights[found.labels == k].sum() for k in range(5)])
    torch.testing.assert_close(sums, sums[:1].expand(5))


def test_order_does_not_matter_without_ties() -> None:
    logits, order = some(50, 4, 2), torch.randperm(50)
    one, two = pseudo_labels(logits, per_class=5), pseudo_labels(logits[order], per_class=5)
    assert torch.equal(one.keep[order], two.keep)


def test_no_gradient_and_full_precision() -> None:
    logits = some(6, 3, 3).bfloat16().requires_grad_()
    found = pseudo_labels(logits)
    assert found.labels.dtype == torch.int64
    assert found.keep.dtype == torch.bool
    for part in (found.probabilities, found.confidence, found.weights):
        assert part.dtype == torch.float32
        assert not part.requires_grad


def test_one_graph() -> None:
    logits = some(9, 3, 4)
    compiled = torch.compile(pseudo_labels, fullgraph=True, backend="eager")
    for one, two in zip(
        compiled(logits, per_class=2), pseudo_labels(logits, per_class=2), strict=True
    ):
        assert torch.equal(one, two)


# Complaints -----------------------------------------------------------------------------------


def test_complaints() -> None:
    with pytest.raises(ValueError, match=r"logits must be \(batch, classes\); got shape \(3,\)"):
        pseudo_labels(torch.randn(3))
    with pytest.raises(ValueError, match=r"logits must be floating point; got torch.int64"):
        pseudo_labels(torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"pseudo_labels: logits.numel\(\) must be >= 1; got 0"):
        pseudo_labels(torch.randn(0, 2))
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\]; got 1.2"):
        pseudo_labels(torch.randn(3, 2), threshold=1.2)
    with pytest.raises(ValueError, match=r"pseudo_labels: per_class must be >= 1; got 0"):
        pseudo_labels(torch.randn(3, 2), per_class=0)
