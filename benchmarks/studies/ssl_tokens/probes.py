"""Linear, support-vector and nearest-neighbour probes of wide features, through inner products.

Token grids are wide (thousands of numbers) and training sets small, and all three probes depend
on the features through inner products alone. So the products are computed once, by matrix
multiplication, and each probe gets as many coordinates as there are training series. The answers
are those of `ssltok.metrics.linear_probe_accuracy`, `svm_probe_accuracy` and `knn_accuracy` on
features standardised with the training split (a test compares them).
"""

import torch
from torch import Tensor

from ssltok.evaluation import mean_and_scale

__all__ = ["probe_accuracies"]

NEIGHBORS = 5
FLOOR = 1e-10  # of eigenvalues, over the largest: directions that training series do not span


def probe_accuracies(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor
) -> dict[str, float]:
    """Fit three probes on frozen features of the training split; accuracy on the other.

    Features are standardised per column with the training split; a constant column
    says nothing: it is 0 in training, and so in every inner product.

    Args:
        train: `(cases, dim)`.
        train_labels: int64 `(cases,)`.
        test: `(cases, dim)`.
        test_labels: int64 `(cases,)`.

    Returns:
        Accuracies in [0, 1]: `linear` (logistic regression, C = 1), `svm` (linear, C = 1, one
        against one), `knn` (5 neighbours or all, if fewer, one vote each).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    a, b = train.detach().double(), test.detach().double()
    mean, scale = mean_and_scale(a, (0,))
    a, b = (a - mean) / scale, (b - mean) / scale
    own, other = a @ a.T, b @ a.T
    truth, known = test_labels.numpy(), train_labels.numpy()
    values, vectors = torch.linalg.eigh(own)
    kept = values > FLOOR * values[-1].clamp_min(FLOOR)
    turn = vectors[:, kept] / values[kept].sqrt()
    logistic = LogisticRegression(C=1.0, max_iter=1000)
    logistic.fit((own @ turn).numpy(), known)
    svm = SVC(kernel="precomputed", C=1.0).fit(own.numpy(), known)
    apart = own.diagonal() - 2 * other  # squared distances, less what is equal within a row
    near = apart.sort(dim=1, stable=True).indices[:, :NEIGHBORS]
    votes = torch.zeros(len(b), int(train_labels.max()) + 1)
    ones = torch.ones(near.shape)
    votes.scatter_add_(1, train_labels[near], ones)
    return {
        "linear": float((logistic.predict((other @ turn).numpy()) == truth).mean()),
        "svm": float((svm.predict(other.numpy()) == truth).mean()),
        "knn": float((votes.argmax(1) == test_labels).double().mean()),
    }
