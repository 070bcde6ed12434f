"""The newer contrastive losses, forward and backward, side by side with peers.

    python benchmarks/contrast.py            # one thread, all
    python benchmarks/contrast.py 2 dcl      # two threads, one

Sizes, checks and rounds are those of `losses.py`.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from losses import Loss, compare, lightly, metric
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor
from torch.nn.functional import log_softmax, normalize, softmax

from ssltok.losses import (
    dcl_loss,
    dclw_loss,
    labelled_nt_xent_loss,
    multi_similarity_loss,
    multi_similarity_pairs,
    ressl_loss,
    vicregl_loss,
)

SHAPES = [(64, 128), (256, 128), (1024, 512)]


def dcl() -> None:
    for batch, dim in SHAPES:
        pair = torch.randn(2, batch, dim)
        for name, theirs, ours in (
            ("DCL", lightly.DCLLoss(), dcl_loss),
            ("DCLW", lightly.DCLWLoss(), dclw_loss),
        ):
            losses: dict[str, Loss] = {"lightly": theirs, "ssltok": ours}
            compare(f"{name} ({batch}, {dim})", losses, *pair)


def labelled() -> None:
    miner = MultiSimilarityMiner()
    for batch, dim in SHAPES[:2]:
        inputs = torch.randn(batch, dim), torch.arange(batch) % 10
        multi = metric.MultiSimilarityLoss()

        def mined(z: Tensor, labels: Tensor, loss: Loss = multi) -> Tensor:
            return loss(z, labels, miner(z, labels))

        for name, theirs, ours in (
            ("Multi-similarity", multi, multi_similarity_loss),
            ("Multi-similarity, mined", mined,
             partial(multi_similarity_loss, miner=multi_similarity_pairs)),
        ):  # fmt: skip
            losses: dict[str, Loss] = {"pytorch-metric-learning": theirs, "ssltok": ours}
            compare(f"{name} ({batch}, {dim}), 10 classes", losses, *inputs)
    losses = {"pytorch-metric-learning": metric.NTXentLoss(), "ssltok": labelled_nt_xent_loss}
    inputs = torch.randn(64, 128), torch.arange(64) % 10  # of 256 rows theirs takes 29 s and 6 GiB
    compare("NT-Xent of labels (64, 128), 10 classes", losses, *inputs)


def ressl() -> None:
    queue = normalize(torch.randn(4096, 128), dim=1)

    def peer(query: Tensor, key: Tensor) -> Tensor:
        """solo-learn's formula, and the entropy that it leaves out."""
        q, k = (normalize(x, dim=1) @ queue.T for x in (query, key.detach()))
        target = softmax(k / 0.04, dim=1)
        return (target * (target.log() - log_softmax(q / 0.1, dim=1))).sum(dim=1).mean()

    def ours(query: Tensor, key: Tensor) -> Tensor:
        return ressl_loss(query, key, queue)

    losses: dict[str, Loss] = {"solo-learn's formula": peer, "ssltok": ours}
    compare("ReSSL (256, 128), 4096 keys", losses, *torch.randn(2, 256, 128))


def vicregl() -> None:
    theirs = lightly.VICRegLLoss(alpha=0.0, num_matches=(20, 20))
    places = torch.rand(2, 32, 49, 2)

    def peer(z_a: Tensor, z_b: Tensor) -> Tensor:
        pooled = z_a[:, 0].detach()
        local: Tensor = theirs(
            [(pooled, z_a[:, None]), (pooled.clone(), z_b[:, None])],
            [places[0][:, None], places[1][:, None]],
        )
        return local.squeeze()

    def ours(z_a: Tensor, z_b: Tensor) -> Tensor:
        return vicregl_loss(
            z_a, z_b, places[0], places[1], variance_weight=12.5, covariance_weight=0.5
        )

    losses: dict[str, Loss] = {"lightly": peer, "ssltok": ours}
    compare("VICRegL, both orders (32, 49, 128)", losses, *torch.randn(2, 32, 49, 128))


CASES: dict[str, Callable[[], None]] = {
    "dcl": dcl,
    "labelled": labelled,
    "ressl": ressl,
    "vicregl": vicregl,
}


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    torch.set_num_threads(threads)
    for name in sys.argv[2:] or CASES:
        torch.manual_seed(0)
        CASES[name]()


if __name__ == "__main__":
    main()
