"""How fast on the device, beside the peers that are installed and the published procedure.

A case is first measured alone, so that a peer that is missing, fails or is slow costs only itself.
"""

import dataclasses
import functools
import importlib
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from benchmarks.gpu_device import Item, NotInstalled, PeerFailed, optional, peak_mib, wait
from benchmarks.peers import stand_in_for_torchvision
from benchmarks.side_by_side import Timing, side_by_side
from torch import Tensor

from ssltok.losses import (
    barlow_twins_loss,
    koleo_loss,
    nt_xent_loss,
    sigreg_loss,
    vibcreg_loss,
    vicreg_loss,
)
from ssltok.pipelines import PriorConfig, SSLTokenizer, compact

__all__ = ["large", "losses", "quantizers", "steps"]

Call = Callable[[], object]
Figures = list[dict[str, Any]]
SHAPES, LARGE_SHAPE = ((256, 128), (1024, 2048)), (4096, 8192)
CODES, LARGE_CODES, TOKENS, DIM = (8192, 65536), 16384, 16384, 64
SLOW = 0.5  # seconds; a case with a slower call gets the fewest rounds


def timed(calls: Mapping[str, Call], device: torch.device, *, small: bool) -> list[Timing]:
    """Side by side, each call until the device has done it; rounds by the slowest call."""

    def waited(call: Call) -> Call:
        def run() -> None:
            call()
            wait(device)

        return run

    ready = {name: waited(call) for name, call in calls.items()}
    slowest = 0.0
    for call in ready.values():
        call()  # kernels and workspaces are made in the first
        start = time.perf_counter()
        call()
        slowest = max(slowest, time.perf_counter() - start)
    rounds = 2 if small else 3 if slowest > SLOW else 9
    memory = functools.partial(peak_mib, device=device) if device.type == "cuda" else None
    return side_by_side(
        ready, rounds=rounds, warmup=0, least_seconds=1e-6 if small else 0.02, peak=memory
    )


def figures(timing: Timing, detail: str) -> dict[str, Any]:
    """A row of the table; a ratio only where there is something to compare with."""
    row: dict[str, Any] = {"ms": round(timing.milliseconds, 4)}
    if detail:
        row["speedup"] = round(timing.speedup, 2)
        row["quartiles"] = f"{timing.speedup_low:.2f}-{timing.speedup_high:.2f}"
    return {**row, "peak_mib": round(timing.peak_mib, 1), "detail": detail}


def beside(
    ours: Callable[[], Call], peer: tuple[str, Callable[[], Call]] | None, name: str,
    device: torch.device, *, small: bool,
) -> Iterator[Item]:  # fmt: skip
    """A row for ours alone, then one for the ratio to the peer, whatever comes of that."""

    def alone() -> Figures:
        return [figures(timed({"ssltok": ours()}, device, small=small)[0], "")]

    yield Item(name, alone)
    if peer is None:
        return
    title, build = peer

    def ratio() -> Figures:
        try:
            theirs = build()
            theirs()
        except (NotInstalled, AssertionError):
            raise
        except Exception as error:
            raise PeerFailed(title) from error
        timings = timed({title: theirs, "ssltok": ours()}, device, small=small)
        said = f"{title}: {timings[0].milliseconds:.4g} ms, {timings[0].peak_mib:.1f} MiB"
        return [figures(timings[1], said)]

    yield Item(f"{name}, beside {title}", ratio)


# --- losses ---------------------------------------------------------------------------------


def lightly(name: str, **options: float) -> Callable[..., Tensor]:
    """A loss of lightly."""
    stand_in_for_torchvision()
    module: Any = optional("lightly.loss", "lightly")
    if name == "SIGReg":
        module = module.lejepa_loss
    loss: Callable[..., Tensor] = getattr(module, name)(**options)
    return loss


def vicreg_halved(a: Tensor, b: Tensor) -> Tensor:
    """As lightly weighs it."""
    return vicreg_loss(a, b, variance_weight=12.5)


# Ours, inputs, the name in lightly (the same options by default), and whether values are equal.
LOSSES: dict[str, tuple[Callable[..., Tensor], int, str | None, dict[str, float], bool]] = {
    "Barlow Twins": (barlow_twins_loss, 2, "BarlowTwinsLoss", {}, True),
    "VICReg": (vicreg_halved, 2, "VICRegLoss", {}, True),
    "VIbCReg": (vibcreg_loss, 2, None, {}, False),
    "NT-Xent": (
        functools.partial(nt_xent_loss, temperature=0.1),
        2, "NTXentLoss", {"temperature": 0.1}, True,
    ),
    "KoLeo": (koleo_loss, 1, "KoLeoLoss", {}, True),
    "SIGReg": (sigreg_loss, 1, "SIGReg", {}, False),
}  # fmt: skip


def losses_at(
    names: tuple[str, ...], batch: int, dim: int, device: torch.device, *, small: bool
) -> Iterator[Item]:
    """Forward and backward of losses of one shape."""
    for name in names:
        loss, count, theirs, options, equal = LOSSES[name]

        @functools.cache
        def views(count: int = count) -> list[Tensor]:
            draws = torch.Generator(device).manual_seed(0)
            z = torch.randn(batch, dim, generator=draws, device=device)
            noise = torch.randn(count, batch, dim, generator=draws, device=device)
            return [(z + 0.5 * part).requires_grad_() for part in noise]

        def both(loss: Callable[..., Tensor], views: Callable[[], list[Tensor]] = views) -> Call:
            leaves = views()
            return lambda: torch.autograd.grad(loss(*leaves), leaves)

        def build(
            theirs: str | None = theirs, options: Any = options, loss: Any = loss,
            both: Any = both, views: Any = views, equal: bool = equal,
        ) -> Call:  # fmt: skip
            peer: Any = lightly(str(theirs), **options)
            peer = peer.to(device) if isinstance(peer, torch.nn.Module) else peer
            if equal:
                torch.testing.assert_close(loss(*views()), peer(*views()), rtol=1e-3, atol=1e-3)
            call: Call = both(peer)
            return call

        peer = None if theirs is None else ("lightly", build)
        title = f"{name} ({batch}, {dim})"
        yield from beside(functools.partial(both, loss), peer, title, device, small=small)


def losses(device: torch.device, small: bool) -> Iterator[Item]:
    """All losses of views at two shapes."""
    for batch, dim in ((16, 8),) if small else SHAPES:
        yield from losses_at(tuple(LOSSES), batch, dim, device, small=small)


# --- quantizers -----------------------------------------------------------------------------


def quantizers_at(
    tokens: int, dim: int, size: int, device: torch.device, *, small: bool, only: tuple[str, ...]
) -> Iterator[Item]:
    """The training steps of `quantizers.py`, built on the device."""
    module = importlib.import_module("quantizers")
    with device:
        cases = module.cases(tokens, dim, size)
    for name, builds in cases.items():
        if only and name not in only:
            continue

        def ours(builds: Any = builds) -> Call:
            with device:
                call: Call = builds["ssltok"]()
            return call

        def theirs(builds: Any = builds) -> Call:
            if module.peer is None:
                raise NotInstalled("pip install vector-quantize-pytorch")
            warnings.simplefilter("ignore")
            with device:
                call: Call = builds["vector-quantize-pytorch"]()
            return call

        title = f"{name}, {tokens} tokens, {size} codes"
        peer = ("vector-quantize-pytorch", theirs)
        yield from beside(ours, peer, title, device, small=small)


def quantizers(device: torch.device, small: bool) -> Iterator[Item]:
    """All quantizers of the CPU's benchmark at 8,192 codes, and at 65,536."""
    if small:
        yield from quantizers_at(64, 8, 32, device, small=True, only=())
        return
    for size in CODES:
        yield from quantizers_at(TOKENS, DIM, size, device, small=False, only=())


# --- steps and large sizes ------------------------------------------------------------------


def steps(device: torch.device, small: bool) -> Iterator[Item]:
    """A fit from end to end, steps of both stages, and 64 and 4,096 samples."""
    pipeline = importlib.import_module("pipeline")
    case = next(c for c in pipeline.cases() if c.title == "paper, 1024 codes")
    series = pipeline.toy_series(32 if small else 128)

    yield Item("fit, encode, sample", lambda: end_to_end(series, device))
    if small:
        tokenizer = dataclasses.replace(case.config.tokenizer, dim=8, blocks=1, codebook_size=16)
        prior = PriorConfig(dim=16, depth=1, heads=2, high_dim=16, high_depth=1, high_heads=2)
        config = dataclasses.replace(case.config, tokenizer=tokenizer, prior=prior)
        case = case._replace(title="small", config=config)
    series = series.to(device)
    few, many = (2, 4) if small else (64, 4096)
    for samples, acts in ((few, (0, 1, 2)), (many, (2,))):

        @functools.cache
        def ours(samples: int = samples) -> list[Call]:
            calls: list[Call] = pipeline.our_acts(case, series, samples=samples)
            return calls

        @functools.cache
        def published(samples: int = samples) -> list[Call]:
            calls: list[Call] = pipeline.published_acts(
                case, series, padded=case.padded, samples=samples
            )
            return calls

        for act in acts:
            title = ("stage-1 step", "stage-2 step", f"{samples} samples")[act]
            peer = ("the published procedure", lambda act=act, f=published: f()[act])
            yield from beside(
                lambda act=act, f=ours: f()[act],  # type: ignore[misc]
                peer, f"{case.title}: {title}", device, small=small,
            )  # fmt: skip


def end_to_end(series: Tensor, device: torch.device) -> Figures:
    """The estimator with four steps of each stage, on the device that its engine takes."""
    config = compact()
    config = dataclasses.replace(
        config,
        tokenizer_training=dataclasses.replace(config.tokenizer_training, steps=4),
        prior_training=dataclasses.replace(config.prior_training, steps=4),
    )
    start = time.perf_counter()
    model = SSLTokenizer(config, progress=False, cpu=device.type == "cpu").fit(series.numpy())
    codes, samples = model.encode(series[:8].numpy()), model.sample(4)
    spent = 1e3 * (time.perf_counter() - start)
    if samples.shape != (4, *series.shape[1:]) or len(codes) != 8:
        raise AssertionError(f"samples {samples.shape}, codes {codes.shape}")
    return [{"ms": round(spent, 1), "detail": "4 + 4 steps, once, with all that happens once"}]


def large(device: torch.device, small: bool) -> Iterator[Item]:
    """What an H200 is for: 4,096 rows of 8,192 features, a million tokens and 16,384 codes."""
    names = ("Barlow Twins", "VICReg", "VIbCReg", "NT-Xent")
    batch, dim = (32, 16) if small else LARGE_SHAPE
    yield from losses_at(names, batch, dim, device, small=small)
    tokens, dim, size = (128, 8, 32) if small else (2**20, DIM, LARGE_CODES)
    only = ("EMA", "gradient", "FSQ")
    yield from quantizers_at(tokens, dim, size, device, small=small, only=only)
