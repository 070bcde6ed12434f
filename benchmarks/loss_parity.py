"""Write docs/pages/results/loss_parity.md: how far each loss is from its published algorithm.

    PYTHONPATH=. python benchmarks/loss_parity.py

The oracles are those of the tests (`tests/losses/test_*.py`, the list `PARITY` of each): naive
float64 transcriptions. Twenty seeds each. The relations to peers are measured too, where the
peers (`lightly`, `pytorch-metric-learning`) are installed.
"""

import importlib
import importlib.metadata
import pathlib
from collections.abc import Callable

import torch
from peers import stand_in_for_torchvision
from tests.losses.parity import SEEDS, Parity, parity_errors
from torch import Tensor
from torch.nn import functional

from ssltok import losses

ROOT = pathlib.Path(__file__).parents[1]
VARIANCE_HALVED = losses.VICRegLoss(variance_weight=12.5)
PAGE = ROOT / "docs" / "pages" / "results" / "loss_parity.md"
HEAD = """# Parity of the losses

Every loss against an independent, naive transcription of its published algorithm in float64: the
largest error over 20 seeds, relative to the largest entry of the transcription's value (to 1 if
that is smaller) and gradient. `benchmarks/loss_parity.py` writes this page from the oracles of
the tests; the tests themselves ask for 1e-10 in float64 and 1e-5 in float32.

| loss | source | value, float64 | gradient, float64 | value, float32 | gradient, float32 |
| --- | --- | --- | --- | --- | --- |
"""
PEERS = """
## Relation to peers

Measured on the same inputs (64 rows of 32 features, seed 0, float32) with {versions}: the ratio of
values, ours to theirs, and the largest difference of gradients after that ratio, relative to the
largest entry.

lightly 1.6.0 holds two corrections of losses over several processes
([#1980](https://github.com/lightly-ai/lightly/pull/1980), Barlow Twins;
[#1923](https://github.com/lightly-ai/lightly/pull/1923), SIGReg); without them gradients lack a
factor, the number of processes. Run over two with `gather_distributed=True`, its SIGReg is
ours to rounding (value 1.00000, gradient 3.6e-07). Its Barlow Twins standardises the rows of each
process by themselves, so it is ours where the processes hold equal rows (2.4e-07), and not where
they hold halves of a batch (value 1.0007, gradient 0.29 apart): ours is that of the whole batch.

| loss | peer | ratio of values | gradient error | why |
| --- | --- | --- | --- | --- |
"""


def cases() -> list[Parity]:
    found: list[Parity] = []
    for path in sorted((ROOT / "tests" / "losses").glob("test_*.py")):
        module = importlib.import_module(f"tests.losses.{path.stem}")
        found += getattr(module, "PARITY", [])
    return found


def row(case: Parity) -> str:
    cells = [f"`{case.name}`", case.source]
    for dtype in (torch.float64, torch.float32):
        errors = [parity_errors(case, seed, dtype) for seed in SEEDS]
        cells += [f"{max(e):.1e}" for e in zip(*errors, strict=True)]
    return f"| {' | '.join(cells)} |\n"


ONES = torch.ones(4, 16, dtype=torch.bool)
TRIPLETS = tuple(torch.arange(64) + 64 * place for place in range(3))


def sharp(outputs: Tensor) -> Tensor:
    """A teacher's probabilities with a centre of 0, as in a first step."""
    return losses.center_and_sharpen(outputs, torch.zeros(outputs.shape[-1]), temperature=0.04)


def cosines(z: Tensor) -> Tensor:
    """Cosines with 32 orthogonal prototypes."""
    return functional.normalize(z, dim=-1)


def msn(anchors: Tensor, targets: Tensor, prototypes: Tensor) -> Tensor:
    """MSN from embeddings: cosines, a target sharpened to the power 4, then Sinkhorn on it."""
    p, t, k = (functional.normalize(x, dim=-1) for x in (anchors, targets, prototypes))
    logs = functional.log_softmax(4 * functional.log_softmax(t @ k.T / 0.1, dim=-1), dim=-1)
    return losses.msn_loss((p @ k.T)[None], losses.sinkhorn(logs, epsilon=1.0))


def versions() -> str:
    """The releases that this page compares with."""
    named = ("lightly", "pytorch-metric-learning", "torch")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in named)


def peer_rows() -> list[str]:
    stand_in_for_torchvision()
    try:
        import lightly.loss as lightly
        import pytorch_metric_learning.losses as metric
    except ImportError:
        return ["| - | not installed where this page was written | - | - | - |\n"]
    generator = torch.Generator().manual_seed(0)
    a, b, c = torch.randn(3, 64, 32, generator=generator)
    labels = torch.arange(64) % 8

    def pair(loss: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: loss(z, b)

    def swav(z: Tensor) -> Tensor:
        scores = torch.stack([cosines(z), cosines(b)])
        return losses.swapped_prediction_loss(scores, losses.sinkhorn(scores.detach()))

    def seeded(loss: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: (torch.manual_seed(0), loss(z))[1]

    def both(loss: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda z: loss(torch.cat([z, b]), torch.arange(64).repeat(2))

    table: list[tuple[str, str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], str]] = [
        ("barlow_twins_loss", "lightly", pair(losses.barlow_twins_loss),
         pair(lightly.BarlowTwinsLoss()),
         "equal in one process; over several it standardises each process by itself"),
        ("vicreg_loss", "lightly", pair(VARIANCE_HALVED),
         pair(lightly.VICRegLoss()), "equal with the authors' halved variance"),
        ("nt_xent_loss", "lightly", pair(losses.nt_xent_loss),
         pair(lightly.NTXentLoss(temperature=0.1)), "equal; does not gather by default"),
        ("nt_xent_loss", "pytorch-metric-learning", pair(losses.nt_xent_loss),
         both(metric.NTXentLoss(temperature=0.1)), "equal with two views"),
        ("supcon_loss", "pytorch-metric-learning", lambda z: losses.supcon_loss(z, labels),
         lambda z: metric.SupConLoss(temperature=0.07)(z, labels),
         "equal while every anchor has a positive; it leaves lonely anchors out of the mean"),
        ("koleo_loss", "lightly", losses.koleo_loss, lightly.KoLeoLoss(), "equal in float32"),
        ("w_mse_loss", "lightly", pair(lambda x, y: losses.w_mse_loss(x[:, :8], y[:, :8])),
         pair(lambda x, y: lightly.WMSELoss(embedding_dim=8, w_size=64)(
             torch.cat([x[:, :8], y[:, :8]]))), "equal; the whole batch whitened"),
        ("vicreg_loss", "pytorch-metric-learning", pair(VARIANCE_HALVED),
         lambda z: metric.VICRegLoss()(z, ref_emb=b), "equal with the authors' halved variance"),
        ("triplet_loss", "pytorch-metric-learning",
         lambda z: losses.triplet_loss(z, b, c, margin=3.0, squared=False),
         lambda z: metric.TripletMarginLoss(margin=3.0)(
             torch.cat([z, b, c]), torch.zeros(192, dtype=torch.int64), TRIPLETS),
         "equal where every triplet costs something; it averages over those that do"),
        ("negative_cosine_loss", "lightly", pair(losses.negative_cosine_loss),
         lambda z: lightly.NegativeCosineSimilarity()(z, b), "equal; the caller detaches there"),
        ("dino_loss", "lightly",
         lambda z: losses.dino_loss(torch.stack([z, b]), sharp(torch.stack([b, c]))),
         lambda z: lightly.DINOLoss(output_dim=32, warmup_teacher_temp=0.04, teacher_temp=0.04)(
             [b, c], [z, b], epoch=1), "equal; its centre moves in forward"),
        ("ibot_patch_loss", "lightly",
         lambda z: losses.ibot_patch_loss(z, sharp(b), ONES),
         lambda z: lightly.IBOTPatchLoss(output_dim=32)(b, z, ONES.unsqueeze(1)),
         "equal; its centre moves in forward"),
        ("swapped_prediction_loss", "lightly", swav,
         lambda z: lightly.SwaVLoss()([cosines(z), cosines(b)], []).squeeze(),
         "equal; it returns the shape (1,)"),
        ("msn_loss", "lightly", lambda z: msn(z, b, c),
         lambda z: lightly.MSNLoss()(z, b, c),
         "equal in one process; its mean prediction stays local over several"),
        ("sigreg_loss", "lightly", seeded(losses.sigreg_loss),
         seeded(lightly.lejepa_loss.SIGReg()), "equal on equal directions"),
    ]  # fmt: skip
    rows = []
    for name, peer, ours, theirs, why in table:
        leaf = a.clone().requires_grad_()
        values = [loss(leaf) for loss in (ours, theirs)]
        slopes = [torch.autograd.grad(value, leaf)[0] for value in values]
        ratio = (values[0] / values[1]).item()
        error = (slopes[0] - ratio * slopes[1]).abs().max() / slopes[0].abs().max()
        rows.append(f"| `{name}` | {peer} | {ratio:.5f} | {error.item():.1e} | {why} |\n")
    return rows


def main() -> None:
    torch.set_num_threads(1)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    rows = peer_rows()
    peers = PEERS.format(versions=versions()) if len(rows) > 1 else PEERS
    text = HEAD + "".join(row(case) for case in cases()) + peers + "".join(rows)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
