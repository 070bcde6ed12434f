"""Losses of views, forward and backward, side by side with peers and with their authors' code.

    python benchmarks/losses.py                  # one thread, all losses and sizes
    python benchmarks/losses.py 2 vicreg 256x8192    # two threads, one loss at one size

Needs `lightly` and `pytorch-metric-learning`. Each value is checked against the reference's first.
A case whose reference takes 0.15 seconds forward gets three rounds and no warm-up, one below 5
milliseconds 25, any other nine.
DINO, SwAV, iBOT and the EMA update are in `teachers.py`; `losses_page.py` makes the page of both.
"""

import sys
import time
from collections.abc import Callable

import torch
from peers import stand_in_for_torchvision
from side_by_side import machine, side_by_side, table
from torch import Tensor
from torch.nn import functional

from ssltok.losses import (
    barlow_twins_loss,
    capi_loss,
    emp_ssl_loss,
    frossl_loss,
    hierarchical_contrastive_loss,
    info_nce_loss,
    koleo_loss,
    lejepa_loss,
    lenepa_loss,
    mmcr_loss,
    nepa_loss,
    nt_xent_loss,
    sigreg_loss,
    simdino_loss,
    sinkhorn,
    supcon_loss,
    tico_loss,
    vibcreg_loss,
    vicreg_loss,
    visreg_loss,
    w_mse_loss,
)

stand_in_for_torchvision()
import lightly.loss as lightly  # noqa: E402
import pytorch_metric_learning.losses as metric  # noqa: E402

SHAPES = [(64, 128), (256, 128), (256, 2048), (1024, 2048), (256, 8192)]
Loss = Callable[..., Tensor]


def compare(title: str, losses: dict[str, Loss], *inputs: Tensor, check: bool = True) -> None:
    """Time both directions; the first loss is the reference."""
    leaves = [x.clone().requires_grad_(x.is_floating_point()) for x in inputs]
    wanted = [x for x in leaves if x.requires_grad]
    start = time.perf_counter()
    reference = next(iter(losses.values()))(*leaves).detach()
    seconds = time.perf_counter() - start  # forward alone
    heavy = seconds > 0.15
    if check:
        for name, loss in list(losses.items())[1:]:
            torch.testing.assert_close(
                loss(*leaves).detach(), reference, rtol=1e-3, atol=1e-3, msg=f"{title}: {name}"
            )

    def both(loss: Loss) -> Callable[[], object]:
        return lambda: torch.autograd.grad(loss(*leaves), wanted, allow_unused=True)

    timings = side_by_side(
        {name: both(loss) for name, loss in losses.items()},
        rounds=3 if heavy else 25 if seconds < 0.005 else 9,
        warmup=0 if heavy else 1,
    )
    print(table(title, timings), "\n", flush=True)


def views(batch: int, dim: int) -> tuple[Tensor, Tensor]:
    z = torch.randn(batch, dim)
    return z + 0.5 * torch.randn(batch, dim), z + 0.5 * torch.randn(batch, dim)


def vibcreg_authors(a: Tensor, b: Tensor) -> Tensor:
    """The authors' formula: the whole correlation matrix, its diagonal zeroed by index."""
    loss = 25 * functional.mse_loss(a, b)
    for z in (a, b):
        loss = loss + 25 * functional.relu(1 - torch.sqrt(z.var(dim=0) + 1e-4)).mean()
        unit = functional.normalize(z - z.mean(dim=0), p=2, dim=0)
        correlation = unit.T @ unit
        index = torch.arange(z.shape[1])
        correlation[index, index] = torch.zeros(z.shape[1])
        loss = loss + 200 * (correlation**2).mean()
    return loss


def vicreg_halved(a: Tensor, b: Tensor) -> Tensor:
    return vicreg_loss(a, b, variance_weight=12.5)


def barlow() -> None:
    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {
            "lightly": lightly.BarlowTwinsLoss(),
            "ssltok": barlow_twins_loss,
        }
        compare(f"Barlow Twins ({batch}, {dim})", losses, *views(batch, dim))


def vicreg() -> None:
    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {"lightly": lightly.VICRegLoss(), "ssltok": vicreg_halved}
        compare(f"VICReg ({batch}, {dim})", losses, *views(batch, dim))


def vibcreg() -> None:
    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {"authors' formula": vibcreg_authors, "ssltok": vibcreg_loss}
        compare(f"VIbCReg ({batch}, {dim})", losses, *views(batch, dim))


def nt_xent() -> None:
    def pml(a: Tensor, b: Tensor) -> Tensor:
        labels = torch.arange(len(a)).repeat(2)
        value: Tensor = metric.NTXentLoss(temperature=0.1)(torch.cat([a, b]), labels)
        return value

    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {
            "lightly": lightly.NTXentLoss(temperature=0.1),
            "ssltok": nt_xent_loss,
        }
        if batch <= 64:  # its matrix of all pairs and negatives grows with batch^3
            losses["pytorch-metric-learning"] = pml
        compare(f"NT-Xent ({batch}, {dim})", losses, *views(batch, dim))


def info_nce() -> None:
    def moco(query: Tensor, key: Tensor, queue: Tensor) -> Tensor:
        """MoCo, algorithm 1, with normalised rows; its code also clones the queue."""
        q, k = functional.normalize(query), functional.normalize(key.detach())
        old = functional.normalize(queue.detach()).clone().T
        logits = torch.cat([(q * k).sum(dim=1, keepdim=True), q @ old], dim=1) / 0.07
        return functional.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64))

    losses: dict[str, Loss] = {"authors' algorithm": moco, "ssltok": info_nce_loss}
    compare("InfoNCE (256, 128), queue 65536", losses, *views(256, 128), torch.randn(65536, 128))


def moco_v3() -> None:
    def authors(query: Tensor, key: Tensor) -> Tensor:
        q, k = functional.normalize(query), functional.normalize(key.detach())
        return functional.cross_entropy(q @ k.T / 0.07, torch.arange(len(q)))

    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {"authors' code": authors, "ssltok": info_nce_loss}
        compare(f"InfoNCE ({batch}, {dim}), no queue", losses, *views(batch, dim))


def koleo() -> None:
    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {"lightly": lightly.KoLeoLoss(), "ssltok": koleo_loss}
        compare(f"KoLeo ({batch}, {dim})", losses, torch.randn(batch, dim))


def supcon() -> None:
    losses: dict[str, Loss] = {
        "pytorch-metric-learning": metric.SupConLoss(temperature=0.07),
        "ssltok": supcon_loss,
    }
    compare("SupCon (256, 128), 10 classes", losses, torch.randn(256, 128), torch.arange(256) % 10)


def sigreg() -> None:
    module = lightly.lejepa_loss.SIGReg()
    losses: dict[str, Loss] = {"lightly": module, "ssltok": sigreg_loss}
    compare("SIGReg (256, 128), 1024 slices", losses, torch.randn(256, 128), check=False)


def w_mse() -> None:
    module = lightly.WMSELoss(embedding_dim=64, w_size=128)

    def theirs(a: Tensor, b: Tensor) -> Tensor:
        value: Tensor = module(torch.cat([a, b]))
        return value

    def ours(a: Tensor, b: Tensor) -> Tensor:
        return w_mse_loss(a, b, sub_batch=128)

    losses: dict[str, Loss] = {"lightly": theirs, "ssltok": ours}
    compare("W-MSE (512, 64), sub-batches of 128", losses, *views(512, 64), check=False)


def ts2vec() -> None:
    def term(z: Tensor, half: int) -> Tensor:
        """The authors' way: lower and upper triangles, a log-softmax of all."""
        sim = z @ z.transpose(1, 2)
        logits = torch.tril(sim, diagonal=-1)[:, :, :-1] + torch.triu(sim, diagonal=1)[:, :, 1:]
        logs, i = -functional.log_softmax(logits, dim=-1), torch.arange(half)
        return (logs[:, i, half + i - 1].mean() + logs[:, half + i, i].mean()) / 2

    def authors(a: Tensor, b: Tensor) -> Tensor:
        loss, depth = torch.zeros(()), 0
        while True:
            loss = loss + 0.5 * term(torch.cat([a, b], 0).transpose(0, 1), a.shape[0])
            depth += 1
            if a.shape[1] == 1:
                return loss / depth
            loss = loss + 0.5 * term(torch.cat([a, b], 1), a.shape[1])
            a, b = (functional.max_pool1d(z.mT, 2).mT for z in (a, b))

    losses: dict[str, Loss] = {"authors' code": authors, "ssltok": hierarchical_contrastive_loss}
    pair = 0.1 * torch.randn(8, 256, 64), 0.1 * torch.randn(8, 256, 64)
    compare("TS2Vec (8, 256, 64)", losses, *pair)


def unit(*rows: Tensor) -> list[Tensor]:
    """For peers that leave the norm to the caller."""
    return [functional.normalize(z, dim=-1) for z in rows]


def lejepa() -> None:
    theirs = lightly.lejepa_loss.LeJEPALoss()

    def peer(*z: Tensor) -> Tensor:
        value: Tensor = theirs(global_proj=torch.stack(z[:2]), local_proj=torch.stack(z[2:]))
        return value

    def ours(*z: Tensor) -> Tensor:
        return lejepa_loss(*z, global_views=2)

    losses: dict[str, Loss] = {"lightly": peer, "ssltok": ours}
    inputs = [*views(128, 64), *views(128, 64)]
    compare("LeJEPA (4 of 128, 64), 1024 slices", losses, *inputs, check=False)


def visreg() -> None:
    theirs = lightly.visreg_loss.VISRegLoss(num_slices=1024)

    def peer(*z: Tensor) -> Tensor:
        value: Tensor = theirs(global_proj=torch.stack(z[:2]), local_proj=torch.stack(z[2:]))
        return value

    def ours(*z: Tensor) -> Tensor:
        return visreg_loss(*z, global_views=2, slices=1024)

    losses: dict[str, Loss] = {"lightly": peer, "ssltok": ours}
    for batch, dim in ((128, 64), (256, 512)):
        inputs = [*views(batch, dim), *views(batch, dim)]
        compare(f"VISReg (4 of {batch}, {dim}), 1024 slices", losses, *inputs, check=False)


def frossl() -> None:
    theirs = lightly.frossl_loss.FroSSLLoss()
    for batch, dim in SHAPES:
        losses: dict[str, Loss] = {
            "lightly": lambda *z: theirs(list(z)),
            "ssltok": frossl_loss,
        }
        compare(f"FroSSL ({batch}, {dim})", losses, *views(batch, dim))


def tico() -> None:
    for batch, dim in SHAPES[:3]:
        losses: dict[str, Loss] = {
            "lightly": lambda a, b: lightly.TiCoLoss()(a, b),
            "ssltok": tico_loss,
        }
        compare(f"TiCo ({batch}, {dim}), first step", losses, *views(batch, dim))
        moment = torch.eye(dim) / dim

        def later(a: Tensor, b: Tensor, moment: Tensor = moment) -> Tensor:
            theirs = lightly.TiCoLoss()
            theirs.C = moment
            value: Tensor = theirs(a, b)
            return value

        def ours(a: Tensor, b: Tensor, moment: Tensor = moment) -> Tensor:
            return tico_loss(a, b, moment)

        losses = {"lightly": later, "ssltok": ours}
        compare(f"TiCo ({batch}, {dim}), later", losses, *views(batch, dim))


def mmcr() -> None:
    def peer(weight: float) -> Loss:
        theirs = lightly.mmcr_loss.MMCRLoss(lmda=weight)
        return lambda *z: theirs(*(part.unsqueeze(1) for part in unit(*z)))

    for batch, dim in ((64, 128), (256, 128), (128, 512)):
        for weight in (0.0, 5e-3):
            losses: dict[str, Loss] = {
                "lightly": peer(weight),
                "ssltok": lambda *z, w=weight: mmcr_loss(*z, compression_weight=w),
            }
            compare(f"MMCR ({batch}, {dim}), weight {weight}", losses, *views(batch, dim))


def emp_ssl() -> None:
    def peer(*z: Tensor) -> Tensor:
        """Lightly 1.6.0 with the authors' sign of the rate."""
        rows, theirs = torch.stack(unit(*z)), lightly.emp_ssl_loss
        value: Tensor = 200 * theirs.invariance_loss(rows) - theirs.tcr_loss(rows, eps=0.2)
        return value

    for batch, dim in ((64, 128), (256, 128), (128, 512)):
        losses: dict[str, Loss] = {"lightly, sign mended": peer, "ssltok": emp_ssl_loss}
        inputs = [*views(batch, dim), *views(batch, dim)]
        compare(f"EMP-SSL (4 of {batch}, {dim})", losses, *inputs)


def simdino() -> None:
    def authors(student: Tensor, teacher: Tensor) -> Tensor:
        """Their loss: all cosines, the same view's set to 0; a `dim x dim` matrix for each view."""
        s, t = unit(student, teacher.detach())
        cosines = functional.cosine_similarity(t.unsqueeze(1), s.unsqueeze(0), dim=-1)
        others = cosines.mean(dim=2).masked_fill(torch.eye(len(t), len(s)).bool(), 0)
        agreement = others.sum() / (len(t) * (len(s) - 1))
        (batch, dim), rate = s.shape[1:], torch.zeros(())
        for part in (s[: len(t)] + t) / 2:
            whole = torch.eye(dim) + dim / (batch * 0.5) * part.T @ part
            rate = rate + torch.linalg.cholesky_ex(whole)[0].diagonal().log().sum()
        return -agreement - rate / len(t) * (dim + batch) / (dim * batch)

    for batch, dim in ((64, 256), (256, 256), (128, 512)):
        losses: dict[str, Loss] = {"authors' formula": authors, "ssltok": simdino_loss}
        student, teacher = torch.randn(4, batch, dim), torch.randn(2, batch, dim)
        compare(f"SimDINO (4 and 2 of {batch}, {dim})", losses, student, teacher)


def capi() -> None:
    theirs = lightly.capi_loss.CAPILoss()
    mask = torch.ones(64, 32, dtype=torch.bool)

    def ours(student: Tensor, teacher: Tensor) -> Tensor:
        assignments = sinkhorn(teacher.transpose(0, 1), epsilon=0.06).transpose(0, 1)
        return capi_loss(student, assignments, mask)

    losses: dict[str, Loss] = {"lightly": lambda s, t: theirs(t, s), "ssltok": ours}
    compare("CAPI (64, 32, 1024)", losses, *(0.3 * torch.randn(2, 64, 32, 1024)))


def lenepa() -> None:
    knots = torch.linspace(0, 3, 17)
    gauss = torch.exp(-(knots**2) / 2)
    weights = torch.full((17,), 3 / 8) * gauss
    weights[[0, -1]] /= 2

    def authors(pred: Tensor, target: Tensor) -> Tensor:
        """Their loss: a cosine and a sine for each node."""
        loss = functional.mse_loss(pred[:, :-1], target[:, 1:])
        lines = functional.normalize(torch.randn(pred.shape[2], 256), dim=0)
        phase = (torch.cat([pred, target]) @ lines).unsqueeze(-1) * knots
        error = (phase.cos().mean(1) - gauss).square() + phase.sin().mean(1).square()
        return loss + 20 * (error @ weights).mean()

    losses: dict[str, Loss] = {"authors' formula": authors, "ssltok": lenepa_loss}
    compare("LeNEPA (32, 32, 64)", losses, *torch.randn(2, 32, 32, 64), check=False)


def nepa() -> None:
    def peer(pred: Tensor, target: Tensor) -> Tensor:
        """stable-pretraining's formula."""
        p, t = unit(pred[:, :-1], target.detach()[:, 1:])
        return -(p * t).sum(dim=-1).mean()

    losses: dict[str, Loss] = {"stable-pretraining's formula": peer, "ssltok": nepa_loss}
    compare("NEPA (64, 64, 128)", losses, *torch.randn(2, 64, 64, 128))


def vicreg_grid() -> None:
    for shape in ((64, 16, 128), (256, 16, 64)):
        losses: dict[str, Loss] = {"lightly": lightly.VICRegLoss(), "ssltok": vicreg_halved}
        compare(f"VICReg {shape}", losses, *torch.randn(2, *shape))


CASES: dict[str, Callable[[], None]] = {
    "lejepa": lejepa,
    "visreg": visreg,
    "frossl": frossl,
    "tico": tico,
    "mmcr": mmcr,
    "emp_ssl": emp_ssl,
    "simdino": simdino,
    "capi": capi,
    "lenepa": lenepa,
    "nepa": nepa,
    "vicreg_grid": vicreg_grid,
    "nt_xent": nt_xent,
    "koleo": koleo,
    "info_nce": info_nce,
    "moco_v3": moco_v3,
    "supcon": supcon,
    "sigreg": sigreg,
    "w_mse": w_mse,
    "ts2vec": ts2vec,
    "barlow": barlow,
    "vicreg": vicreg,
    "vibcreg": vibcreg,
}


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    sizes = [word for word in sys.argv[2:] if word[0].isdigit()]
    if sizes:
        SHAPES[:] = [(int(batch), int(dim)) for batch, dim in (s.split("x") for s in sizes)]
    print(machine(), "\n")
    for name in [word for word in sys.argv[2:] if word not in sizes] or CASES:
        torch.manual_seed(0)
        CASES[name]()


if __name__ == "__main__":
    main()
