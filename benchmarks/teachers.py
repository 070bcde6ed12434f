"""Losses of teachers and clusters, and the updates of state, side by side with peers.

    python benchmarks/teachers.py            # with one thread
    python benchmarks/teachers.py 2 dino     # with two threads, one of them

Peers: lightly's modules where it is installed, and the authors' code written out naively. Both
directions are timed. Inputs come from seed 0; a candidate's value is checked against the first.
"""

import sys
import time
from collections.abc import Callable

import torch
from peers import stand_in_for_torchvision
from side_by_side import machine, side_by_side, table
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from ssltok.losses import (
    center_and_sharpen,
    cosine_regression_loss,
    dino_loss,
    ibot_patch_loss,
    sinkhorn,
    swapped_prediction_loss,
)
from ssltok.optim import LARS
from ssltok.state import EMATeacher, RunningCenter

stand_in_for_torchvision()
try:
    import lightly.loss as lightly_loss
except ImportError:
    lightly_loss = None


def backward(loss: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], Tensor]:
    """A call of both directions that leaves no gradient behind."""

    def call() -> Tensor:
        value = loss()
        torch.autograd.grad(value, leaves)
        return value.detach().reshape(())

    return call


def compare(title: str, candidates: dict[str, Callable[[], Tensor]]) -> None:
    reference = next(iter(candidates.values()))()
    for name, call in candidates.items():
        torch.testing.assert_close(call(), reference, rtol=1e-4, atol=1e-4, msg=name)
    start = time.perf_counter()
    next(iter(candidates.values()))()
    rounds = 25 if time.perf_counter() - start < 0.01 else 11
    print(table(title, side_by_side(candidates, rounds=rounds)), "\n", flush=True)


def naive_dino(student: Tensor, probs: Tensor, temperature: float = 0.1) -> Tensor:
    """The authors' loop: a log-softmax for each pair."""
    total, terms = torch.zeros(()), 0
    students = (student / temperature).unbind(0)
    for t, q in enumerate(probs.unbind(0)):
        for s, logits in enumerate(students):
            if s != t:
                total = total + torch.sum(-q * log_softmax(logits, dim=-1), dim=-1).mean()
                terms += 1
    return total / terms


def dino(views: int, batch: int, prototypes: int) -> None:
    student = torch.randn(views, batch, prototypes, requires_grad=True)
    teacher = torch.randn(2, batch, prototypes)
    center = RunningCenter(prototypes)

    def ours() -> Tensor:
        probs = center_and_sharpen(teacher, torch.zeros(prototypes), temperature=0.04)
        value = dino_loss(student, probs)
        center.update(teacher.flatten(0, 1))
        return value

    naive_center = torch.zeros(1, prototypes)

    def naive() -> Tensor:
        probs = torch.softmax((teacher - torch.zeros(1, prototypes)) / 0.04, dim=-1)
        value = naive_dino(student, probs)
        naive_center.mul_(0.9).add_(teacher.flatten(0, 1).mean(0, keepdim=True) * 0.1)
        return value

    candidates = {"authors' loop": naive, "ssltok": ours}
    if lightly_loss is not None:
        # A momentum of 1 leaves its centre at 0, so that every call has the same value.
        module = lightly_loss.DINOLoss(output_dim=prototypes, center_momentum=1.0,
                                       warmup_teacher_temp=0.04, teacher_temp=0.04)  # fmt: skip

        def theirs() -> Tensor:
            return module(list(teacher.unbind(0)), list(student.unbind(0)), epoch=1)

        candidates = {"lightly": theirs, **candidates}
    calls = {name: backward(loss, student) for name, loss in candidates.items()}
    compare(f"DINO, {views} views, {batch} x {prototypes}", calls)


def naive_sinkhorn(scores: Tensor, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    q = torch.exp(scores / epsilon).t()
    q = q / q.sum()
    for _ in range(iterations):
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).t()


def swav(views: int, batch: int, prototypes: int) -> None:
    features = normalize(torch.randn(views, batch, 128), dim=-1)
    scores = features @ normalize(torch.randn(prototypes, 128), dim=-1).T
    scores.requires_grad_()

    def ours() -> Tensor:
        return swapped_prediction_loss(scores, sinkhorn(scores.detach()[:2]))

    def naive() -> Tensor:
        with torch.no_grad():
            assignments = torch.stack([naive_sinkhorn(view) for view in scores[:2]])
        return naive_dino(scores, assignments)

    candidates = {"authors' loop": naive, "ssltok": ours}
    if lightly_loss is not None:
        module = lightly_loss.SwaVLoss()

        def theirs() -> Tensor:
            crops = list(scores.unbind(0))
            return module(crops[:2], crops[2:]).squeeze()

        candidates = {"lightly": theirs, **candidates}
    calls = {name: backward(loss, scores) for name, loss in candidates.items()}
    compare(f"SwAV with Sinkhorn, {views} views, {batch} x {prototypes}", calls)


def ibot(batch: int, tokens: int, prototypes: int) -> None:
    mask = torch.rand(batch, tokens) < 0.4
    student = torch.randn(int(mask.sum()), prototypes, requires_grad=True)
    probs = torch.softmax(torch.randn(student.shape) / 0.07, dim=-1)

    def naive() -> Tensor:
        """DINOv2's: rows of masked tokens, weights by boolean indexing."""
        rows = torch.sum(probs * log_softmax(student / 0.1, dim=-1), dim=-1)
        weights = (1 / mask.sum(-1).clamp(min=1.0)).unsqueeze(-1).expand_as(mask)[mask]
        return -(rows * weights).sum() / mask.shape[0]

    calls = {"authors' code": naive, "ssltok": lambda: ibot_patch_loss(student, probs, mask)}
    compare(
        f"iBOT patches, {batch} x {tokens} tokens, 40 % masked, {prototypes}",
        {name: backward(loss, student) for name, loss in calls.items()},
    )


def cosine(batch: int, dim: int) -> None:
    pred = torch.randn(batch, dim, requires_grad=True)
    target = torch.randn(batch, dim)

    def naive() -> Tensor:
        p, t = normalize(pred, dim=-1), normalize(target, dim=-1)
        return (2 - 2 * (p * t).sum(dim=-1)).mean()

    candidates = {"authors' code": naive, "ssltok": lambda: cosine_regression_loss(pred, target)}
    if lightly_loss is not None:
        module = lightly_loss.NegativeCosineSimilarity()
        candidates = {"lightly": lambda: 2 + 2 * module(pred, target), **candidates}
    calls = {name: backward(loss, pred) for name, loss in candidates.items()}
    compare(f"cosine regression, {batch} x {dim}", calls)


def ema(tensors: int, size: int) -> None:
    def model() -> nn.ModuleList:
        return nn.ModuleList(nn.Linear(size, size, bias=False) for _ in range(tensors))

    student, peer = model(), model()
    teacher = EMATeacher(student)

    @torch.no_grad()
    def loop() -> None:
        for mine, theirs in zip(peer.parameters(), student.parameters(), strict=True):
            mine.data = mine.data * 0.996 + theirs.data * (1 - 0.996)

    @torch.no_grad()
    def foreach() -> None:
        mine, theirs = list(peer.parameters()), list(student.parameters())
        torch._foreach_mul_(mine, 0.996)
        torch._foreach_add_(mine, theirs, alpha=1 - 0.996)

    # What memory allows, and what else was tried. Not zeros: pages never written are not read.
    block, other, third = torch.randn(3, tensors * size * size).unbind(0)
    flat, views, loose = (torch.randn(2, tensors, size * size) for _ in range(3))
    loose_a, loose_b = ([row.clone() for row in side] for side in loose)
    views_a, views_b = (list(side) for side in views)

    def chunks() -> None:
        for mine, theirs in zip(*(side.flatten().split(2**16) for side in flat), strict=True):
            mine.lerp_(theirs, 0.004)

    timings = side_by_side({
        "loop over parameters": loop,
        "two multi-tensor operations": foreach,
        "ssltok": lambda: teacher.update(student),
        "tried: lists of tensors kept, nothing walked or checked": lambda: (
            torch._foreach_lerp_(loose_a, loose_b, 0.004)
        ),
        "tried: the same, views of one buffer": lambda: (
            torch._foreach_lerp_(views_a, views_b, 0.004)
        ),
        "tried: one buffer in pieces of 256 KiB": chunks,
        "bound: one lerp of one buffer": lambda: block.lerp_(other, 0.004),
        "bound: one copy of one buffer": lambda: third.copy_(other),
    }, rounds=15)  # fmt: skip
    print(table(f"EMA update, {tensors} tensors of {size} x {size}", timings), "\n", flush=True)


def lars(tensors: int, size: int) -> None:
    params = [nn.Parameter(torch.randn(size, size)) for _ in range(tensors)]
    for p in params:
        p.grad = torch.randn(size, size)
    moments = [torch.zeros(size, size) for _ in params]

    @torch.no_grad()
    def loop() -> None:
        """Barlow Twins' and VICReg's class."""
        for p, mu in zip(params, moments, strict=True):
            dp = p.grad.add(p, alpha=1e-6)
            weight, update, one = torch.norm(p), torch.norm(dp), torch.ones_like(torch.norm(p))
            q = torch.where(weight > 0.0, torch.where(update > 0, 1e-3 * weight / update, one), one)
            mu.mul_(0.9).add_(dp.mul(q))
            p.add_(mu, alpha=-1e-9)

    optimizer = LARS(params, lr=1e-9, weight_decay=1e-6)
    timings = side_by_side({"authors' loop": loop, "ssltok": lambda: optimizer.step()})
    print(table(f"LARS, {tensors} tensors of {size} x {size}", timings), "\n", flush=True)


def every_dino() -> None:
    for views in (2, 10):
        for batch, prototypes in SHAPES[: 4 if views == 2 else 2]:
            dino(views, batch, prototypes)
    dino(2, 64, 65536)


def every_swav() -> None:
    for views in (2, 8):
        for batch, prototypes in SHAPES[: 4 if views == 2 else 2]:
            swav(views, batch, prototypes)
    swav(2, 64, 65536)


def every_cosine() -> None:
    for batch, dim in SHAPES:
        cosine(batch, dim)


def every_ema() -> None:
    for size in (16, 64, 256):
        ema(200, size)


SHAPES = [(256, 128), (256, 2048), (1024, 2048), (256, 8192)]
CASES: dict[str, Callable[[], None]] = {
    "dino": every_dino,
    "swav": every_swav,
    "ibot": lambda: ibot(32, 64, 2048),
    "cosine": every_cosine,
    "ema": every_ema,
    "lars": lambda: lars(200, 64),
}


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(machine(), "\n")
    for name in sys.argv[2:] or CASES:
        torch.manual_seed(0)
        CASES[name]()


if __name__ == "__main__":
    main()
