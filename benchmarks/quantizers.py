"""Quantizers beside vector-quantize-pytorch: a training step of each, on equal inputs.

A step is forward, backward to latents and codebook, the optimizer's step where the codebook
learns by gradient, and the update of the codebook's statistics where it does not.

    pip install vector-quantize-pytorch
    python benchmarks/quantizers.py --threads 1
    python benchmarks/quantizers.py --threads 2

LFQ and FSQ come twice: with latents as wide as for the others, which both sides project to the few
channels that the codes need and back, and with latents of just these channels.
"""

import argparse
import importlib.metadata
import warnings
from collections.abc import Callable

import torch
from side_by_side import machine, side_by_side, table
from torch import Tensor, nn

from ssltok.quantizers import (
    FSP,
    FSQ,
    LFQ,
    AffineVectorQuantizer,
    DiVeQ,
    EMAVectorQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    SimVQ,
    SymmetricFSQ,
    VectorQuantizer,
)

try:
    import vector_quantize_pytorch as peer
except ImportError:  # ours can be built without it
    peer = None

SHAPES = [(4096, 64, 32), (16384, 64, 512), (16384, 64, 8192)]
BATCH = 8
LEVELS = {
    32: [8, 5], 512: [8, 8, 8], 8192: [8, 8, 8, 16], 16384: [8, 8, 16, 16], 65536: [16, 16, 16, 16]
}  # fmt: skip
Step = Callable[[], list[Tensor]]
Build = Callable[[], Step]


def step_of(module: nn.Module, latents: Tensor) -> Step:
    """One training step; ours has an `update`, the peer's happens within its forward.

    It returns what is new and must be there at its end: vectors, codes and gradients.
    """
    leaf = latents.clone().requires_grad_()
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3) if parameters else None
    update = getattr(module, "update", None)

    def step() -> list[Tensor]:
        leaf.grad = None
        if optimizer is not None:
            optimizer.zero_grad()
        result = module(leaf)
        loss = result[2].sum() if len(result) > 2 else 0.0
        (result[0].sum() + loss).backward()
        if optimizer is not None:
            optimizer.step()
        if update is not None:
            update(leaf.detach(), result[1])
        gradients = [leaf.grad, *(p.grad for p in parameters)]
        return [*result[:2], *(grad for grad in gradients if grad is not None)]

    return step


def cases(tokens: int, dim: int, size: int) -> dict[str, dict[str, Build]]:
    """Pairs of equal work, each built when asked; the peer is first, the ratios' reference."""
    torch.manual_seed(0)
    latents = torch.randn(BATCH, tokens // BATCH, dim)
    bits = size.bit_length() - 1
    few = torch.randn(BATCH, tokens // BATCH, bits)
    plain = {"rotation_trick": False}
    gradient = {**plain, "learnable_codebook": True, "ema_update": False}
    fsq = LEVELS[size]
    coordinates = torch.randn(BATCH, tokens // BATCH, len(fsq))
    return {
        "EMA": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.VectorQuantize(dim, size, **plain), latents
            ),
            "ssltok": lambda: step_of(EMAVectorQuantizer(dim, size), latents),
        },
        "gradient": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.VectorQuantize(dim, size, **gradient), latents
            ),
            "ssltok": lambda: step_of(VectorQuantizer(dim, size), latents),
        },
        "cosine, EMA": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.VectorQuantize(dim, size, use_cosine_sim=True, **plain), latents
            ),
            "ssltok": lambda: step_of(EMAVectorQuantizer(dim, size, cosine=True), latents),
        },
        "residual, 4 levels, EMA": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.ResidualVQ(dim=dim, codebook_size=size, num_quantizers=4, **plain), latents
            ),
            "ssltok": lambda: step_of(
                ResidualQuantizer([EMAVectorQuantizer(dim, size) for _ in range(4)]), latents
            ),
        },
        "SimVQ": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.SimVQ(dim=dim, codebook_size=size, rotation_trick=False), latents
            ),
            "ssltok": lambda: step_of(SimVQ(dim, size), latents),
        },
        "LFQ": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.LFQ(dim=dim, codebook_size=size), latents
            ),
            "ssltok": lambda: step_of(ProjectedQuantizer(LFQ(bits), dim), latents),
        },
        "FSQ": {
            "vector-quantize-pytorch": lambda: step_of(peer.FSQ(fsq, dim=dim), latents),
            "ssltok": lambda: step_of(ProjectedQuantizer(FSQ(fsq), dim), latents),
        },
        f"bare LFQ, {bits} channels": {
            "vector-quantize-pytorch": lambda: step_of(peer.LFQ(dim=bits, codebook_size=size), few),
            "ssltok": lambda: step_of(LFQ(bits), few),
        },
        f"bare FSQ, {len(fsq)} channels": {
            "vector-quantize-pytorch": lambda: step_of(peer.FSQ(fsq), coordinates),
            "ssltok": lambda: step_of(FSQ(fsq), coordinates),
        },
        "affine, EMA": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.VectorQuantize(dim, size, affine_param=True, **plain), latents
            ),
            "ssltok": lambda: step_of(AffineVectorQuantizer(dim, size), latents),
        },
        "DiVeQ": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.VectorQuantize(dim, size, directional_reparam=True, threshold_ema_dead_code=2),
                latents,
            ),
            "ssltok": lambda: step_of(DiVeQ(dim, size), latents),
        },
        "symmetric FSQ": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.FSQ(fsq, preserve_symmetry=True, noise_dropout=0.5), coordinates
            ),
            "ssltok": lambda: step_of(SymmetricFSQ(fsq, noise=0.5), coordinates),
        },
        "FSP": {
            "vector-quantize-pytorch": lambda: step_of(peer.FSP(fsq), coordinates),
            "ssltok": lambda: step_of(FSP(fsq), coordinates),
        },
        "residual, 3 levels, 4 beams, EMA": {
            "vector-quantize-pytorch": lambda: step_of(
                peer.ResidualVQ(
                    dim=dim, codebook_size=size, num_quantizers=3, beam_size=4, **plain
                ),
                latents,
            ),
            "ssltok": lambda: step_of(
                ResidualQuantizer([EMAVectorQuantizer(dim, size) for _ in range(3)], beams=4),
                latents,
            ),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names begin so")
    parser.add_argument("--sizes", type=int, nargs="*", default=[32, 512, 8192])
    options = parser.parse_args()
    if peer is None:
        raise SystemExit("quantizers: pip install vector-quantize-pytorch")
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    for tokens, dim, size in SHAPES:
        if size not in options.sizes:
            continue
        many = size == 8192  # a step of the peer takes up to half a minute: a third of the rounds
        rounds = max(options.rounds // 3, 2) if many else options.rounds
        for name, builds in cases(tokens, dim, size).items():
            if not options.only or name.startswith(tuple(options.only)):
                candidates = {side: build() for side, build in builds.items()}
                timings = side_by_side(candidates, rounds=rounds, warmup=0 if many else 1)
                print(table(f"{name}: {tokens} tokens, {dim} channels, {size} codes", timings))
                least = sum(tensor.nbytes for tensor in candidates["ssltok"]()) / 2**20
                print(f"\nvectors, codes and gradients alone: {least:.2f} MiB\n", flush=True)
    version = importlib.metadata.version("vector-quantize-pytorch")
    print(f"\n{machine()}, vector-quantize-pytorch {version}; seed 0, {options.rounds} rounds")


if __name__ == "__main__":
    main()
