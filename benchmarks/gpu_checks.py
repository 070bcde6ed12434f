"""Is everything on the device what it is on the CPU? The cases are those of the contract tests.

The reference is float64 on the CPU. The device computes in float64 where it can (1e-9 of the
largest entry, or of 1) and in float32 (1e-4), TensorFloat-32 off.
"""

import contextlib
import copy
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from benchmarks.gpu_device import Item, NotHere, optional, seeded, tensors_on, wait
from torch import Tensor, nn

import ssltok.losses
import ssltok.metrics
from ssltok.decoding import iterative_decode, random_order, temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.optim import LARS
from ssltok.quantizers import FSQ, EMAVectorQuantizer, VectorQuantizer
from ssltok.signal import ISTFT, STFT, STFTBands
from ssltok.state import EMATeacher, FeatureQueue, Prototypes, RunningCenter

__all__ = [
    "bfloat16", "compiled", "generators", "graphs", "losses_agree", "networks_agree", "no_sync",
    "others_agree", "quantizers_agree",
]  # fmt: skip

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
CAPTURED = ("barlow_twins_loss", "nt_xent_loss", "vicreg_loss", "masked_token_loss")
Figures = list[dict[str, Any]]
Outputs = Mapping[str, Tensor]


def contract(package: str) -> Any:
    """The contract test of a package, for its cases."""
    return optional(f"tests.{package}.test_contract", "ssltok[dev]")


def dtypes(device: torch.device) -> list[torch.dtype]:
    """What the device computes in; MPS has no float64."""
    return [torch.float32] if device.type == "mps" else [torch.float32, torch.float64]


def error(name: str, value: Tensor, reference: Tensor, tolerance: float) -> float:
    """The largest error relative to the largest entry, or to 1; raise if it is too large."""
    if value.shape != reference.shape:
        raise AssertionError(f"{name}: shape {tuple(value.shape)}, not {tuple(reference.shape)}")
    if not value.dtype.is_floating_point and not value.dtype.is_complex:
        differ = (value.cpu() != reference.cpu()).sum().item()
        if differ:
            raise AssertionError(f"{name}: {differ} of {value.numel()} differ")
        return 0.0
    wide = torch.complex128 if value.dtype.is_complex else torch.float64
    a, b = value.detach().cpu().to(wide), reference.detach().cpu().to(wide)
    if a.numel() == 0:
        return 0.0
    worst = ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()
    if not worst <= tolerance:
        raise AssertionError(f"{name}: error {worst:.1e}, allowed {tolerance:.0e}")
    return worst


def compare(
    compute: Callable[[torch.device, torch.dtype], Outputs], device: torch.device
) -> Figures:
    """Compute on the device, in each dtype, and on the CPU in float64."""
    reference = compute(torch.device("cpu"), torch.float64)
    said = []
    with exact_convolutions():
        for dtype in dtypes(device):
            outputs = compute(device, dtype)
            if outputs.keys() != reference.keys():
                raise AssertionError(f"{sorted(outputs)}, not {sorted(reference)}")
            for key, value in outputs.items():
                if value.device.type != device.type:
                    raise AssertionError(f"{key} is on {value.device}, not on {device}")
            errors = [error(k, outputs[k], reference[k], TOLERANCE[dtype]) for k in reference]
            said.append(f"{max(errors, default=0.0):.1e} in {str(dtype).removeprefix('torch.')}")
    return [{"detail": ", ".join(said)}]


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """TensorFloat-32 off; torch has it on in convolutions."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


# --- losses ---------------------------------------------------------------------------------


def placed(inputs: tuple[Tensor, ...], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Leaves on the device; labels, codes and masks as they are."""
    moved = [x.to(device, dtype if x.is_floating_point() else x.dtype) for x in inputs]
    return [x.requires_grad_() if x.is_floating_point() else x for x in moved]


def ask_loss(name: str, leaves: list[Tensor]) -> Tensor:
    """The loss; with a seeded generator on the device where it takes one."""
    function = getattr(ssltok.losses, name)
    if "generator" in inspect.signature(function).parameters:
        return function(*leaves, generator=seeded(leaves[0].device))  # type: ignore[no-any-return]
    return function(*leaves)  # type: ignore[no-any-return]


def value_and_gradients(name: str, leaves: list[Tensor]) -> dict[str, Tensor]:
    """The loss and its gradients, by the place of the input."""
    value = ask_loss(name, leaves)
    wanted = [number for number, leaf in enumerate(leaves) if leaf.requires_grad]
    slopes = torch.autograd.grad(value, [leaves[n] for n in wanted], allow_unused=True)
    named = {f"gradient {n}": g for n, g in zip(wanted, slopes, strict=True) if g is not None}
    return {"value": value.detach(), **named}


def losses_agree(device: torch.device, small: bool) -> Iterator[Item]:
    """Value and gradients of every loss; one that draws is held to itself in float64."""
    cases = contract("losses")
    for name in cases.NAMES:
        inputs = cases.draw(name, 8 if small else 64)
        draws = "generator" in inspect.signature(getattr(ssltok.losses, name)).parameters

        def compute(
            where: torch.device, dtype: torch.dtype, name: str = name, inputs: Any = inputs,
            draws: bool = draws,
        ) -> Outputs:  # fmt: skip
            there = device if draws and device.type != "mps" else where
            outputs = value_and_gradients(name, placed(inputs, there, dtype))
            return {k: v.to(where) for k, v in outputs.items()} if draws else outputs

        yield Item(name, lambda compute=compute: compare(compute, device))  # type: ignore[misc]


# --- quantizers -----------------------------------------------------------------------------


def backward(value: Tensor) -> None:
    """Go back, where the quantizer gives a gradient at all."""
    if value.requires_grad:
        value.backward()


def quantizers_agree(device: torch.device, small: bool) -> Iterator[Item]:
    """Vectors, codes, loss, gradients and the state after `update` of every quantizer."""
    cases = contract("quantizers")
    for name in cases.CASES:

        def compute(where: torch.device, dtype: torch.dtype, name: str = name) -> Outputs:
            quantizer = cases.calm(name, cases.build(name)).to(where, dtype)
            latents = cases.data(4, 5 if small else 50, quantizer.dim).to(where, dtype)
            latents.requires_grad_()
            out = quantizer(latents)
            backward(out.vectors.square().sum() + out.loss)
            quantizer.update(latents.detach(), out.codes)
            slopes = {k: p.grad for k, p in quantizer.named_parameters() if p.grad is not None}
            if latents.grad is not None:
                slopes["latents"] = latents.grad
            return {
                "codes": out.codes, "vectors": out.vectors, "loss": out.loss,
                "decoded": quantizer.decode(out.codes),
                **{f"gradient of {k}": v for k, v in slopes.items()},
                **{f"state {k}": v for k, v in quantizer.state_dict().items()},
            }  # fmt: skip

        yield Item(name, lambda compute=compute: compare(compute, device))  # type: ignore[misc]


# --- the other packages ---------------------------------------------------------------------


def networks_agree(device: torch.device, small: bool) -> Iterator[Item]:
    """Every module of `ssltok.nn` in evaluation mode: its output and its input's gradient."""
    cases = contract("nn")
    for name in cases.CASES:
        module, call, x = cases.ready(name)

        def compute(
            where: torch.device, dtype: torch.dtype, module: Any = module, call: Any = call,
            x: Tensor = x,
        ) -> Outputs:  # fmt: skip
            leaf = x.to(where, dtype).requires_grad_()
            with tensors_on(cases, where):
                out = call(copy.deepcopy(module).eval().to(where, dtype), leaf)
            (slope,) = torch.autograd.grad(out.square().sum(), leaf)
            return {"output": out, "gradient": slope}

        yield Item(name, lambda compute=compute: compare(compute, device))  # type: ignore[misc]


def others_agree(device: torch.device, small: bool) -> Iterator[Item]:
    """Transforms and their inverse, the states, LARS, and every metric that draws nothing."""
    del small
    draws = seeded(torch.device("cpu"))
    series = torch.randn(4, 2, 40, generator=draws)
    rows = torch.randn(12, 6, generator=draws)
    weight = torch.randn(6, 4, generator=draws)

    def signal(where: torch.device, dtype: torch.dtype) -> Outputs:
        x = series.to(where, dtype)
        spectrum = STFT(n_fft=8, hop=4).to(where)(x)
        bands = STFTBands(40, n_fft=4, hop=2, edges=(1, 2)).to(where)(x)
        back = ISTFT(n_fft=8, hop=4).to(where)(spectrum, 40)
        return {"spectrum": spectrum, "series": back} | {
            f"band {i}": b for i, b in enumerate(bands)
        }

    def states(where: torch.device, dtype: torch.dtype) -> Outputs:
        x = rows.to(where, dtype)
        queue = FeatureQueue(16, 6, generator=seeded(torch.device("cpu"))).to(where, dtype)
        center = RunningCenter(6).to(where, dtype)
        prototypes = Prototypes(6, 5, generator=seeded(torch.device("cpu"))).to(where, dtype)
        student = nn.Linear(6, 4).to(where, dtype)
        with torch.no_grad():
            student.weight.copy_(weight.T)
            student.bias.zero_()
        teacher = EMATeacher(student)
        optimizer = LARS(student.parameters(), lr=0.1)
        student(x).square().mean().backward()
        optimizer.step()
        updates: list[Callable[[], object]] = [
            lambda: queue.update(x), lambda: center.update(x), prototypes.update,
            lambda: teacher.update(student, momentum=0.5),
        ]  # fmt: skip
        for update in updates:
            update()
        parts = {"queue": queue, "center": center, "prototypes": prototypes, "teacher": teacher,
                 "student": student}  # fmt: skip
        return {f"{p} {k}": v for p, m in parts.items() for k, v in m.state_dict().items()}

    yield Item("signal", lambda: compare(signal, device))
    yield Item("state and LARS", lambda: compare(states, device))
    cases = contract("metrics")
    for name, call in cases.CALLS.items():
        yield Item(name, lambda call=call: metric(cases, call, device))  # type: ignore[misc]


def metric(cases: Any, call: Callable[[], Any], device: torch.device) -> Figures:
    """A metric of the same float32 numbers on both sides; it computes in float64 itself."""
    if device.type == "mps":
        raise NotHere("metrics compute in float64, which MPS has not")
    reference = call()
    with tensors_on(cases, device):
        value = call()
    pairs = zip(value, reference, strict=True) if isinstance(value, tuple) else [(value, reference)]
    worst = max(error("value", torch.as_tensor(a), torch.as_tensor(b), 1e-6) for a, b in pairs)
    return [{"detail": f"{worst:.1e}"}]


# --- what only a device can show ------------------------------------------------------------


@contextlib.contextmanager
def sync_is_an_error(device: torch.device) -> Iterator[None]:
    """Within the block an operation that makes the CPU wait for the device raises."""
    wait(device)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def no_sync(device: torch.device, small: bool) -> Iterator[Item]:
    """Forward and backward of losses; forward, backward and `update` of quantizers."""
    del small
    cases, quantizers = contract("losses"), contract("quantizers")
    detail = "never waits" if device.type == "cuda" else "runs; only CUDA reports a wait"

    def loss(name: str) -> Figures:
        leaves = placed(cases.draw(name), device, torch.float32)
        value_and_gradients(name, leaves)  # handles and workspaces are made in the first call
        generator_made_before = seeded(device)
        function = getattr(ssltok.losses, name)
        draws = "generator" in inspect.signature(function).parameters
        options = {"generator": generator_made_before} if draws else {}
        with sync_is_an_error(device):
            value = function(*leaves, **options)
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            torch.autograd.grad(value, wanted, allow_unused=True)
        return [{"detail": detail}]

    def quantizer(name: str) -> Figures:
        module = quantizers.build(name).to(device)
        latents = quantizers.data(4, 5, module.dim).to(device).requires_grad_()
        for guard in (contextlib.nullcontext(), sync_is_an_error(device)):
            with guard:
                out = module(latents)
                backward(out.vectors.sum() + out.loss)
                module.update(latents.detach(), out.codes)
                module.decode(out.codes)
        return [{"detail": detail}]

    for name in cases.NAMES:
        yield Item(name, lambda name=name: loss(name))  # type: ignore[misc]
    for name in quantizers.CASES:
        yield Item(name, lambda name=name: quantizer(name))  # type: ignore[misc]


def bfloat16(device: torch.device, small: bool) -> Iterator[Item]:
    """Under autocast: losses and quantizers as without it, networks close to it and finite."""
    del small
    cases, quantizers, networks = contract("losses"), contract("quantizers"), contract("nn")

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, dtype=torch.bfloat16)

    def loss(name: str) -> Figures:
        leaves = placed(cases.draw(name), device, torch.float32)
        plain = ask_loss(name, leaves)
        with autocast():
            inside = ask_loss(name, leaves)
        if inside.dtype != torch.float32:
            raise AssertionError(f"dtype {inside.dtype}, not float32")
        return [{"detail": f"{error('value', inside, plain, 1e-3):.1e}"}]

    def quantizer(name: str) -> Figures:
        module = quantizers.build(name).to(device).eval()
        latents = quantizers.data(4, 5, module.dim).to(device)
        plain = module(latents)
        with autocast():
            inside = module(latents)
        # A projection before the codes is a network, and rounds: its codes may differ.
        same = (plain.codes == inside.codes).float().mean().item()
        if "Projected" not in name:
            error("codes", inside.codes, plain.codes, 0)
        if not torch.isfinite(inside.vectors).all():
            raise AssertionError("vectors are not finite")
        return [{"detail": f"{same:.3f} of the codes agree"}]

    def network(name: str) -> Figures:
        module, call, x = networks.ready(name)
        module, x = module.to(device).eval(), x.to(device)
        with tensors_on(networks, device), torch.no_grad():
            plain = call(module, x)
            with autocast():
                inside = call(module, x)
        return [{"detail": f"{error('output', inside, plain, 0.1):.1e}"}]

    parts = [(cases.NAMES, loss), (quantizers.CASES, quantizer), (networks.CASES, network)]
    for names, check in parts:
        for name in names:
            yield Item(name, lambda check=check, name=name: check(name))  # type: ignore[misc]


def generators(device: torch.device, small: bool) -> Iterator[Item]:
    """Equal seeds give equal draws on the device, others do not; the result stays there."""
    del small
    masks, augment = contract("masking"), contract("augment")

    def twice(draw: Callable[[torch.Generator], Tensor]) -> Figures:
        first, again, other = (draw(seeded(device, seed)) for seed in (1, 1, 2))
        if first.device.type != device.type:
            raise AssertionError(f"the result is on {first.device}, not on {device}")
        if not torch.equal(first, again) or torch.equal(first, other):
            raise AssertionError("the generator alone must decide")
        return [{"detail": "its seed decides"}]

    valid = torch.ones(masks.SHAPE, dtype=torch.bool, device=device)
    for name, sampler in masks.SAMPLERS.items():
        yield Item(name, lambda s=sampler: twice(lambda g: s(valid=valid, generator=g)))  # type: ignore[misc]
    series = augment.series_of(16, 3, 40).to(device)
    for name in augment.CASES:
        view = augment.augmentation_of(name)
        yield Item(name, lambda v=view: twice(lambda g: v(series, generator=g)))  # type: ignore[misc]
    logits = torch.randn(7, generator=seeded(torch.device("cpu"))).to(device)

    def decode(generator: torch.Generator) -> Tensor:
        return iterative_decode(
            lambda _, places: logits.expand(int(places.sum()), 7),
            torch.full((8, 12), 7, device=device), mask_index=7, steps=4, schedule=cosine_schedule,
            order=random_order(), sample=temperature_sample(), generator=generator,
        )  # fmt: skip

    yield Item("iterative_decode", lambda: twice(decode))


def compiled(device: torch.device, small: bool) -> Iterator[Item]:
    """A few losses and quantizers compiled as one graph give what they give without."""
    cases, backend = contract("losses"), "aot_eager" if small else "inductor"

    def loss(name: str) -> Figures:
        leaves = placed(cases.draw(name), device, torch.float32)
        whole: Callable[..., Tensor] = torch.compile(
            getattr(ssltok.losses, name), fullgraph=True, backend=backend
        )
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        plain = value_and_gradients(name, leaves)
        value = whole(*leaves)
        slopes = [g for g in torch.autograd.grad(value, wanted, allow_unused=True) if g is not None]
        pairs = zip([value, *slopes], plain.values(), strict=True)
        worst = max(error("value or gradient", a, b, 1e-4) for a, b in pairs)
        return [{"detail": f"{worst:.1e} with {backend}"}]

    def quantizer(build: Callable[[], nn.Module]) -> Figures:
        torch.manual_seed(0)
        module = build().to(device).eval()
        latents = torch.randn(4, 50, 6).to(device)[..., : 3 if isinstance(module, FSQ) else 6]
        plain = module(latents)
        inside = torch.compile(module, fullgraph=True, backend=backend)(latents)
        error("codes", inside.codes, plain.codes, 0)
        worst = error("vectors", inside.vectors, plain.vectors, 1e-4)
        return [{"detail": f"{worst:.1e} with {backend}"}]

    def quietly(check: Callable[[], Figures]) -> Figures:
        with warnings.catch_warnings():  # torch's tracer makes an instance of autograd's Function
            warnings.simplefilter("ignore", DeprecationWarning)
            return check()

    for name in CAPTURED[:1] if small else CAPTURED:
        yield Item(name, lambda name=name: quietly(lambda: loss(name)))  # type: ignore[misc]
    for name, build in QUANTIZERS.items():
        if not small or name == "FSQ":
            yield Item(name, lambda build=build: quietly(lambda: quantizer(build)))  # type: ignore[misc]


QUANTIZERS: dict[str, Callable[[], nn.Module]] = {
    "VectorQuantizer": lambda: VectorQuantizer(6, 300),
    "EMAVectorQuantizer": lambda: EMAVectorQuantizer(6, 300),
    "FSQ": lambda: FSQ([5, 4, 3]),
}


def graphs(device: torch.device, small: bool) -> Iterator[Item]:
    """Captured once, replayed on other numbers: a loss with its gradients, and a quantizer."""
    del small
    cases = contract("losses")

    def replay(compute: Callable[..., list[Tensor]], inputs: list[Tensor]) -> Figures:
        if device.type != "cuda":
            raise NotHere("CUDA only")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                compute(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = compute(*inputs)
        with torch.no_grad():
            for x in inputs:
                if x.is_floating_point():
                    x.copy_(x.roll(1, 0) * 1.5 + 0.1)
        graph.replay()
        wait(device)
        pairs = zip(captured, compute(*inputs), strict=True)
        worst = max(error("replayed", a, b, 1e-5) for a, b in pairs)
        return [{"detail": f"{worst:.1e}"}]

    def loss(name: str) -> Figures:
        def compute(*leaves: Tensor) -> list[Tensor]:
            return list(value_and_gradients(name, list(leaves)).values())

        return replay(compute, placed(cases.draw(name), device, torch.float32))

    def quantizer(build: Callable[[], nn.Module]) -> Figures:
        module = build().to(device).eval()
        latents = torch.randn(4, 50, 3 if isinstance(module, FSQ) else 6, device=device)
        return replay(lambda x: list(module(x)), [latents])

    for name in CAPTURED:
        yield Item(name, lambda name=name: loss(name))  # type: ignore[misc]
    for name, build in QUANTIZERS.items():
        yield Item(name, lambda build=build: quantizer(build))  # type: ignore[misc]
