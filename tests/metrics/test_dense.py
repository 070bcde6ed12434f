"""Segments against scikit-learn, and by reasoning."""

import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score

from ssltok.metrics import dense_probe_iou, mean_iou

# Oracle.


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_mean_iou_is_scikit_learns_jaccard(seed: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randint(classes, (3, 8), generator=generator)
    target = torch.randint(-1, classes, (3, 8), generator=generator)
    known = target >= 0
    if known.any():
        expected = jaccard_score(target[known].numpy(), pred[known].numpy(), average="macro")
        assert mean_iou(pred, target, classes=classes + 2).item() == pytest.approx(expected)


def test_dense_probe_is_logistic_regression_on_all_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (20, 6), generator=generator)
    x = torch.randn(20, 6, 4, generator=generator, dtype=torch.float64)
    x[..., 0] += y
    x[..., 1] *= 100
    y[0, :3] = -1
    a, b = x[:12], x[12:]
    known = y[:12] >= 0
    mean, std = a[known].mean(0), a[known].std(0, correction=0)
    model = LogisticRegression(C=0.1).fit(((a[known] - mean) / std).numpy(), y[:12][known].numpy())
    pred = torch.from_numpy(model.predict(((b - mean) / std).flatten(0, 1).numpy())).view(8, 6)
    expected = mean_iou(pred, y[12:], classes=3)
    result = dense_probe_iou(a, y[:12], b, y[12:], inverse_regularization=0.1)
    assert result == expected
    assert 0.2 < result < 0.9


# Known values.


def test_nothing_known_is_undefined() -> None:
    nothing = torch.full((3,), -1)
    assert math.isnan(mean_iou(torch.zeros(3).long(), nothing, classes=2).item())


def test_what_is_predicted_where_nothing_is_known_does_not_count() -> None:
    pred, target = torch.tensor([0, 1, 7, -1]), torch.tensor([0, 1, -1, -1])
    assert mean_iou(pred, target, classes=2).item() == 1


# Complaints.


def test_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.zeros(2, 3).long()
    with pytest.raises(ValueError, match=r"^mean_iou: pred and target must share one shape; got"):
        mean_iou(codes, codes[:1], classes=2)
    with pytest.raises(ValueError, match=r"^mean_iou: pred must lie in \[0, 2\); got 0 to 2$"):
        mean_iou(torch.tensor([0, 2]), torch.tensor([0, 1]), classes=2)
    with pytest.raises(ValueError, match=r"^mean_iou: pred must lie in \[0, 2\); got -1 to 0$"):
        mean_iou(torch.tensor([0, -1]), torch.tensor([0, 1]), classes=2)
    with pytest.raises(ValueError, match=r"^mean_iou: target must lie in \[0, 2\); got 0 to 3$"):
        mean_iou(torch.tensor([0, 1]), torch.tensor([0, 3]), classes=2)
    with pytest.raises(ValueError, match=r"^mean_iou: points must be >= 1; got 0$"):
        mean_iou(codes[:0], codes[:0], classes=2)
    x = torch.zeros(2, 3, 1)
    with pytest.raises(
        ValueError, match=r"^dense_probe_iou: train_labels must have shape \(2, 3\)"
    ):
        dense_probe_iou(x, codes[:1], x, codes)
    with pytest.raises(ValueError, match=r"classes of train_labels must be >= 2; got 1$"):
        dense_probe_iou(x, codes, x, codes)
    labels = torch.tensor([[0, 1, 0], [1, 0, 1]])
    said = r"^dense_probe_iou: train and test must have one dim; got 1 and 2$"
    with pytest.raises(ValueError, match=said):
        dense_probe_iou(x, labels, x.expand(-1, -1, 2), labels)
    with pytest.raises(ValueError, match=r"^dense_probe_iou: tokens of test must be >= 1; got 0$"):
        dense_probe_iou(x, labels, x[:, :0], labels[:, :0])
    with pytest.raises(ValueError, match=r"^dense_probe_iou: dim must be >= 1; got 0$"):
        dense_probe_iou(x[..., :0], labels, x[..., :0], labels)
    broken = torch.full_like(x, torch.nan)
    said = r"^dense_probe_iou: features of train must be finite; got 6 of 6 rows without$"
    with pytest.raises(ValueError, match=said):
        dense_probe_iou(broken, labels, x, labels)
    said = r"^dense_probe_iou: features of test must be finite; got 6 of 6 rows without$"
    with pytest.raises(ValueError, match=said):
        dense_probe_iou(x, labels, broken, labels)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match=r"scikit-learn is needed; .*ssltok\[pipelines\]"):
        dense_probe_iou(x, labels, x, labels)
