"""Each law is asked: a part that breaks one is refused by name, rule and fact."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.testing import (
    check_augmentation,
    check_coder,
    check_loss,
    check_mask,
    check_objective,
    check_prior,
    check_quantizer,
    check_transform,
)
from ssltok.training import ObjectiveBatch, ObjectiveOutput
from tests.testing.foreign import (
    Bands,
    Cells,
    Likeness,
    PlainPrior,
    StripDecoder,
    StripEncoder,
    alternate_mask,
    square_loss,
    wobble,
)

LENGTH = 33


# Losses ---------------------------------------------------------------------------------------


def loss_pair(z_a: Tensor, z_b: Tensor) -> Any:
    return z_a.sum(), z_b.sum()


def loss_rows(z_a: Tensor, z_b: Tensor) -> Tensor:
    return (z_a - z_b).square().sum(dim=1)


def loss_count(z_a: Tensor, z_b: Tensor) -> Tensor:
    return (z_a > z_b).sum()


def loss_wide(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a.double(), z_b.double())


def loss_nan(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a, z_b) / (z_a - z_a).sum()


def loss_noisy(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a + 0.1 * torch.randn_like(z_a), z_b)


class Counting(nn.Module):
    """It costs more each time."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        self.times += 1
        return self.times * square_loss(z_a, z_b)


class Writing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        return square_loss(z_a, z_b)


def loss_in_place(z_a: Tensor, z_b: Tensor) -> Tensor:
    z_b.detach().copy_(z_b.detach().round())
    return square_loss(z_a, z_b)


def loss_detached(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a.detach(), z_b.detach())


def loss_of_one(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a, z_b.detach())


def loss_flat(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a, z_b.detach()) + 0 * z_b.sum()


def loss_infinite_slope(z_a: Tensor, z_b: Tensor) -> Tensor:
    return square_loss(z_a, z_b) + (z_a - z_a.detach()).square().sum().sqrt()


def loss_half_slope(z_a: Tensor, z_b: Tensor) -> Tensor:
    return 0.5 * square_loss(z_a, z_b) + 0.5 * square_loss(z_a, z_b).detach()


def loss_of_spread(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Its root has no slope at a collapse."""
    return square_loss(z_a, z_b) + z_a.var(dim=0).sqrt().sum()


def loss_of_angle(z_a: Tensor, z_b: Tensor) -> Tensor:
    """It divides by a norm that may be 0."""
    loss: Tensor = (z_a / z_a.norm(dim=1, keepdim=True) - z_b).square().mean()
    return loss


def loss_half(z_a: Tensor, z_b: Tensor) -> Tensor:
    """It multiplies in the precision that autocast chooses."""
    return ((z_a + 30) @ z_b.T).to(z_a.dtype).square().mean()


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        (loss_pair, "it must return one tensor; got tuple"),
        (loss_rows, r"it must return a scalar; got shape \(6,\)"),
        (loss_count, "it must return floating point; got torch.int64"),
        (loss_wide, "it must return float32 of float32; got torch.float64"),
        (loss_nan, "it must be finite; got inf"),
        (loss_noisy, "it must not draw from the global stream"),
        (Counting(), "the same inputs must cost the same"),
        (Writing(), "it must read, not write"),
        (loss_in_place, "inputs must stay as they are"),
        (loss_detached, "it must have a gradient"),
        (loss_of_one, "input 1 must get a gradient"),
        (loss_flat, "the gradient of input 1 must not be 0"),
        (loss_infinite_slope, "gradients must be finite; got NaN or inf"),
        (loss_half_slope, "the gradient must be that of finite differences"),
        (loss_of_spread, "gradients must be finite where all rows are alike"),
        (loss_of_angle, "it must be finite where all rows are 0"),
        (loss_half, "autocast must not change its value"),
    ],
)
def test_losses(loss: Any, complaint: str) -> None:
    name = getattr(loss, "__name__", type(loss).__name__)
    generator = torch.Generator().manual_seed(0)
    pair = [torch.randn(6, 4, generator=generator) for _ in range(2)]
    with pytest.raises(AssertionError, match=f"^{name}: {complaint}"):
        check_loss(loss, pair)


def test_a_target_has_no_gradient() -> None:
    pair = list(torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)))
    check_loss(loss_of_one, pair, targets=[1])
    with pytest.raises(AssertionError, match=r"^square_loss: input 1 is a target: no gradient"):
        check_loss(functools.partial(square_loss), pair, targets=[1])


# Masks and augmentations ----------------------------------------------------------------------


def edited(sampler: Callable[..., Tensor], edit: Callable[..., Any]) -> Callable[..., Any]:
    """A sampler or augmentation whose result goes through `edit(result, first, valid)`."""

    def odd(first: Any, *, valid: Any = None, generator: Any = None) -> Any:
        return edit(sampler(first, valid=valid, generator=generator), first, valid)

    return odd


def drawing(result: Tensor, *_: Any) -> Tensor:
    torch.rand(())
    return result


def spoiling(result: Tensor, first: Any, valid: Tensor | None) -> Tensor:
    if valid is not None:
        valid.fill_(value=True)
    return result


def from_seed(sampler: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Its generator is not the one it is given."""
    inside = torch.Generator().manual_seed(9)

    def odd(first: Any, *, valid: Any = None, generator: Any = None) -> Tensor:
        return sampler(first, valid=valid, generator=inside)

    return odd


@pytest.mark.parametrize(
    ("sampler", "complaint"),
    [
        (edited(alternate_mask, lambda m, *_: (m, m)), "it must return one tensor"),
        (edited(alternate_mask, lambda m, *_: m.float()), "a mask must be boolean"),
        (edited(alternate_mask, lambda m, *_: m[:, 1:]), r"a mask must have shape \(6, 24\)"),
        (edited(alternate_mask, spoiling), "valid must stay as it is"),
        (edited(alternate_mask, drawing), "it must not draw from the global stream"),
        (from_seed(alternate_mask), "equal seeds must draw equal masks"),
        (edited(alternate_mask, lambda m, *_: torch.ones_like(m)), "padding must not be hidden"),
        (edited(alternate_mask, lambda m, *_: m & (m.sum(1, keepdim=True) > 2)),
         "every row with a real token must hide one"),
    ],
)  # fmt: skip
def test_masks(sampler: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=f"^odd: {complaint}"):
        check_mask(sampler)


def reading(result: Tensor, series: Tensor, valid: Tensor | None) -> Tensor:
    """It subtracts a mean of everything."""
    if valid is None:
        return result
    shifted = result - series.nan_to_num(7.0).mean(dim=2, keepdim=True)
    return torch.where(valid[:, None], shifted, series)


def otherwise(result: Tensor, series: Tensor, valid: Tensor | None) -> Tensor:
    return result if valid is None or not valid.all() else 2 * result


def overwriting(result: Tensor, series: Tensor, valid: Tensor | None) -> Tensor:
    series[0, 0, 0] = 3.0
    return result


@pytest.mark.parametrize(
    ("augmentation", "complaint"),
    [
        (edited(wobble, lambda v, *_: (v, v)), "it must return one view; got tuple"),
        (edited(wobble, lambda v, *_: v[..., 1:]), r"a view must have shape \(16, 2, 40\)"),
        (edited(wobble, lambda v, *_: v.double()), "a view must be torch.float32"),
        (edited(wobble, lambda v, *_: v / 0), "a view must be finite"),
        (edited(wobble, overwriting), "series must stay as they are"),
        (edited(wobble, drawing), "it must not draw from the global stream"),
        (from_seed(wobble), "equal seeds must give equal views"),
        (edited(wobble, lambda v, x, _: x.clone()), "a view must differ"),
        (edited(wobble, lambda v, x, valid: v if valid is None else 2 * v),
         "padding must be left alone"),
        (edited(wobble, reading), "padding must not be read"),
        (edited(wobble, spoiling), "valid must stay as it is"),
        (edited(wobble, otherwise), "valid of all samples must be the same as none"),
    ],
)  # fmt: skip
def test_augmentations(augmentation: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=f"^odd: {complaint}"):
        check_augmentation(augmentation)


def test_a_view_has_its_memory() -> None:
    """Channels and samples change places: another view in the same memory."""
    with pytest.raises(AssertionError, match=r"^odd: a view must have memory of its own"):
        check_augmentation(
            edited(wobble, lambda v, x, _: x.transpose(1, 2)), channels=20, length=20
        )


# Transforms -----------------------------------------------------------------------------------


def band(**changes: Any) -> Any:
    """`Bands` with other members."""
    return type("Odd", (Bands,), changes)(LENGTH)


def forward_of(change: Callable[[Tensor], Any]) -> Any:
    return band(forward=lambda self, x: [change(part) for part in Bands.forward(self, x)])


def inverse_of(change: Callable[[Tensor], Any]) -> Any:
    return band(inverse=lambda self, bands: [change(part) for part in bands])


def noisy_inverse(self: Any, bands: Sequence[Tensor]) -> list[Tensor]:
    torch.rand(())
    return list(bands)


def missing(self: Any, series: Tensor) -> list[Tensor]:
    series[0, 0, 0] = 0.0
    return Bands.forward(self, series)


def crossed(self: Any, bands: Sequence[Tensor]) -> list[Tensor]:
    """Right for bands of a series alone."""
    slow, fast = bands
    bend = Bands.forward(self, slow + fast)[0] - slow
    return [slow + bend.square(), fast - bend.square()]


@pytest.mark.parametrize(
    ("transform", "complaint"),
    [
        (band(real=property()), r"it must have all members .*; got \['real'\]"),
        (band(margin=1.5), "margin must be an int >= 0; got 1.5"),
        (band(in_time=0), "in_time must be a bool; got 0"),
        (band(bands=3), "it must give a list of 3 bands"),
        (forward_of(lambda x: x[..., 1:]), r"band 0 must have shape \(5, 2, 33\)"),
        (band(inverse=lambda self, b: [sum(b)]), "inverse must give a share .* for each band"),
        (inverse_of(lambda x: x[..., 1:]), "a share must have the series' shape"),
        (inverse_of(lambda x: 1.01 * x), "the shares must add up to the series"),
        (band(forward=missing), "series must stay as they are"),
        (band(in_time=True), "in_time must say that the only band is the series"),
        (band(forward=lambda self, x: [x.abs(), x - x.abs()]), "it must be linear"),
        (band(inverse=crossed), "inverse must be linear"),
        (forward_of(Tensor.detach), "it must let the gradient through"),
        (band(inverse=noisy_inverse), "it must not draw from the global stream"),
        (band(real=lambda self, v: [v.float()] * 2), "real must be boolean"),
        (band(real=lambda self, v: [v.cumsum(2) > 1] * 2), "without gaps everything must be real"),
        (band(real=lambda self, v: [v]), "real must give a mask for each band; got 1"),
        (band(real=lambda self, v: [v] * 2), "real must be False wherever a missing sample"),
        (band(margin=0), "a sample must be read within margin, 0, alone"),
        (band(within=lambda self, v: [v]), "within must give a mask for each band; got 1"),
        (band(within=lambda self, v: [v.float()] * 2), r"within must be boolean \(5, 33\)"),
        (band(within=lambda self, v: [v.roll(1, 1) & v] * 2), "a whole series must have all|every"),
        (band(within=lambda self, v: [torch.ones_like(v)] * 2), "within must know a series' end"),
        (band(within=lambda self, v: [v | (torch.arange(LENGTH) == 30)] * 2),
         "columns must be real from the left"),
        (band(within=lambda self, v: [v & (v.sum(1, keepdim=True) > 1)] * 2),
         "every series must have a column"),
    ],
)  # fmt: skip
def test_transforms(transform: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=f"^Odd: {complaint}"):
        check_transform(transform)


# Coders ---------------------------------------------------------------------------------------


def coder(encoder: Any = StripEncoder, decoder: Any = StripDecoder) -> Any:
    return lambda: (encoder(2, 6, LENGTH), decoder(2, 6, LENGTH))


class WithoutGrid(StripEncoder):
    grid: Any = property()

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "grid":
            super().__setattr__(name, value)

    def __init__(self, *sizes: int) -> None:
        nn.Module.__init__(self)


class ListGrid(StripEncoder):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.grid = list(self.grid)  # type: ignore[assignment]


class OtherDim(StripEncoder):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.dim = 5


class Edited(StripEncoder):
    """An encoder whose latents go through `change`."""

    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        return self.change(super().forward(band, valid), band, valid)

    def change(self, latents: Tensor, band: Tensor, valid: Tensor | None) -> Tensor:
        raise NotImplementedError


def encoder_of(change: Callable[..., Any], base: type = Edited) -> Any:
    return type("Odd", (base,), {"change": lambda self, *args: change(*args)})


class Unused(StripEncoder):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.spare = nn.Linear(2, 2)


class Moving(StripEncoder):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        self.get_buffer("seen").add_(1)
        return super().forward(band, valid)


class MovingLater(Moving):
    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        if not self.training:
            self.get_buffer("seen").add_(1)
        return StripEncoder.forward(self, band, valid)


class Leaking(StripEncoder):
    """It reads what stands in the padding."""

    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is None:
            return super().forward(band)
        return super().forward(band.nan_to_num(3.0))


class Normed(StripEncoder):
    """Its norm counts the padding."""

    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.norm = nn.BatchNorm1d(2, affine=False)

    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        if self.training:
            self.norm(band.nan_to_num(3.0))
        return super().forward(band, valid)


class LeakingDecoder(StripDecoder):
    def forward(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(vectors.nan_to_num(3.0))


class NarrowDecoder(StripDecoder):
    def forward(self, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(vectors, valid)[..., 1:]


class StartsFromPadding(StripEncoder):
    def initialize(self, band: Tensor, valid: Tensor) -> None:
        self.map.bias.data.fill_(band.mean())


class StartsFromNothing(StripEncoder):
    def initialize(self, band: Tensor, valid: Tensor) -> None:
        self.map.bias.data.fill_(torch.nan)


class Forgetful(StripEncoder):
    """What it learned at its start is no part of its state."""

    shift = 0.0

    def initialize(self, band: Tensor, valid: Tensor) -> None:
        self.shift = 1.0

    def forward(self, band: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().forward(band, valid) + self.shift


def in_place(latents: Tensor, band: Tensor, valid: Tensor | None) -> Tensor:
    band.detach().add_(1.0)
    return latents


def noisy(latents: Tensor, band: Tensor, valid: Tensor | None) -> Tensor:
    return latents + torch.randn_like(latents)


def not_all_alike(latents: Tensor, band: Tensor, valid: Tensor | None) -> Tensor:
    return latents + 1 if valid is not None else latents


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (coder(WithoutGrid), "WithoutGrid: it must have all members .*dim.*grid"),
        (coder(ListGrid), "ListGrid: grid must be a tuple of positive ints"),
        (coder(OtherDim), r"OtherDim: latents must have shape \(5, 5, 9\); got \(5, 6, 9\)"),
        (coder(encoder_of(lambda z, *_: z / 0)), "Odd: latents must be finite"),
        (coder(decoder=NarrowDecoder), "NarrowDecoder: it must give the band's shape"),
        (coder(encoder_of(in_place)), "Odd: bands must stay as they are"),
        (coder(encoder_of(lambda z, *_: z.detach())), "Odd: it must let the gradient through"),
        (coder(encoder_of(lambda z, *_: z * (torch.arange(5) > 0)[: len(z), None, None])),
         "Odd: every row must get a gradient"),
        (coder(Unused), "Unused: a gradient must reach spare.weight"),
        (coder(Moving), "Moving: training must move norms alone"),
        (coder(MovingLater), "MovingLater: evaluation must move no state"),
        (coder(encoder_of(noisy)), "Odd: in evaluation it must not draw"),
        (coder(encoder_of(lambda z, *_: z - z.mean(0))), "Odd: rows must be independent"),
        (coder(encoder_of(not_all_alike)), "Odd: valid of all columns must be the same as none"),
        (coder(Leaking), "Leaking: padding must have no gradient|Leaking: padding must not be"),
        (coder(Normed), "Normed: padding must not be read; got another norm.running_mean"),
        (coder(decoder=LeakingDecoder), "LeakingDecoder: .*adding must"),
        (coder(encoder_of(lambda z, x, v: z + x.mean() if v is not None else z)),
         "Odd: (rows must be|NaN in the padding must stay there)"),
        (coder(StartsFromPadding), "StartsFromPadding: initialize must read no padding"),
        (coder(StartsFromNothing), "StartsFromNothing: initialize must leave a finite state"),
        (coder(Forgetful), "Forgetful: the state_dict must carry all that it needs"),
    ],
)  # fmt: skip
def test_coders(build: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=f"^{complaint}"):
        check_coder(build, (2, LENGTH))


# Quantizers: each of their laws is broken in tests/quantizers/test_foreign.py -------------------


class ForgetsTheSecond(Cells):
    def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
        return super().encode(latents, valid)[..., :1]


def test_quantizers() -> None:
    with pytest.raises(AssertionError, match=r"^ForgetsTheSecond: codes must have shape"):
        check_quantizer(lambda: ForgetsTheSecond(4))


# Objectives -----------------------------------------------------------------------------------


class Mean(nn.Module):
    """Features `(batch, dim)`: means over what is real, through a map."""

    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(2, 4)

    def forward(self, series: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is None:
            valid = torch.ones_like(series[:, 0], dtype=torch.bool)
        real = valid[:, None]
        means = (series * real).sum(dim=2) / real.sum(dim=2)
        out: Tensor = self.map(means)
        return out


class Odd(Likeness):
    """An objective whose output goes through `change`."""

    def forward(self, encoder: nn.Module, batch: ObjectiveBatch) -> Any:
        return self.change(super().forward(encoder, batch), encoder, batch)

    def change(self, output: ObjectiveOutput, encoder: Any, batch: ObjectiveBatch) -> Any:
        return output


def odd(**changes: Any) -> Any:
    return type("Odd", (Odd,), changes)


def change(function: Callable[..., Any]) -> Any:
    return odd(change=lambda self, *args: function(*args))


def keeps_the_encoder(encoder: nn.Module) -> nn.Module:
    objective = Odd(encoder)
    objective.encoder = encoder
    return objective


def unused(encoder: nn.Module) -> nn.Module:
    objective = Odd(encoder)
    objective.spare = nn.Linear(2, 2)
    return objective


def global_draw(self: Any, cases: int, generator: torch.Generator) -> Any:
    return (torch.rand(cases),)


def other_draw(self: Any, cases: int, generator: torch.Generator) -> Any:
    self.count = getattr(self, "count", 0) + 1
    return (torch.full((cases,), float(self.count)),)


def spoil(output: ObjectiveOutput, encoder: Any, batch: ObjectiveBatch) -> ObjectiveOutput:
    batch.views[0].zero_()
    return output


def forward_writes(self: Any, output: Any, *_: Any) -> Any:
    self.mean.add_(1.0)
    return output


def grows(self: Any, output: Any, *_: Any) -> Any:
    self.times = getattr(self, "times", 0) + 1
    return output._replace(loss=output.loss * self.times)


def stream(output: Any, *_: Any) -> Any:
    torch.rand(())
    return output


def moves_the_encoder(self: Any, encoder: nn.Module, memory: Any) -> None:
    next(encoder.parameters()).data.add_(1.0)


def remembers_outside(self: Any, encoder: nn.Module, memory: Any) -> None:
    self.factor = 3.0


def times_factor(self: Any, output: Any, *_: Any) -> Any:
    return output._replace(loss=output.loss * getattr(self, "factor", 1.0))


def any_views(self: Any, encoder: nn.Module, batch: ObjectiveBatch) -> Any:
    """It takes as many as come, and the first twice where there is one."""
    views = (*batch.views, batch.views[0])[:2]
    return Likeness.forward(self, encoder, batch._replace(views=views))


def reads_all(self: Any, encoder: nn.Module, batch: ObjectiveBatch) -> Any:
    output = Likeness.forward(self, encoder, batch)
    return output._replace(loss=output.loss + 0.01 * batch.views[0].mean())


def reads_none(self: Any, encoder: nn.Module, batch: ObjectiveBatch) -> Any:
    """Series that are flat: what it reads does not depend on where they end."""
    views = tuple(torch.ones_like(view) * torch.arange(len(view))[:, None, None]
                  for view in batch.views)  # fmt: skip
    return Likeness.forward(self, encoder, batch._replace(views=views, valid=None))


def doubles_valid(output: Any, encoder: Any, batch: ObjectiveBatch) -> Any:
    return output if batch.valid is None else output._replace(loss=2 * output.loss)


def nan_where_padded(output: Any, encoder: Any, batch: ObjectiveBatch) -> Any:
    padded = batch.valid is not None and not batch.valid.all()
    return output._replace(loss=output.loss * torch.nan) if padded else output


def replaced(**values: Any) -> Any:
    return change(lambda output, *_: output._replace(**values))


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (odd(draw=property()), r"it must have all members .*; got \['draw'\]"),
        (odd(views=0), "views must be >= 1; got 0"),
        (odd(by_token=None), "by_token must be bool; got None"),
        (keeps_the_encoder, "the encoder must be no part of it"),
        (odd(draw=global_draw), "draw must not draw from the global stream"),
        (odd(draw=lambda self, n, g: [torch.rand(n, generator=g)]), "draw must return a tuple"),
        (odd(draw=lambda self, n, g: (torch.rand(n + 1, generator=g),)), "a draw must have 8 rows"),
        (odd(draw=other_draw), "draw must draw the same of equal seeds"),
        (change(stream), "forward must not draw from the global stream"),
        (change(lambda output, *_: tuple(output)), "forward must return ObjectiveOutput"),
        (change(lambda out, *_: out._replace(loss=out.loss[None])), "the loss must be a scalar"),
        (change(lambda out, *_: out._replace(loss=out.loss / 0)), "the loss must be finite"),
        (replaced(logged={}), "some term must be logged"),
        (replaced(logged={"x": torch.zeros(2)}), "the term x must be a scalar"),
        (change(lambda out, *_: out._replace(logged={"x": out.loss})),
         "the term x must have no graph"),
        (change(lambda out, *_: out._replace(memory=(out.loss[None],))), "memory must have no"),
        (change(spoil), "inputs must stay as they are"),
        (odd(change=forward_writes), "forward must read, not write; got another mean"),
        (odd(change=grows), "one batch must give the same bits"),
        (change(lambda out, encoder, _: out._replace(loss=out.loss.detach()
                + 0 * sum(p.sum() for p in encoder.parameters()))), "the encoder's gradient must"),
        (unused, "a gradient must reach spare.weight"),
        (odd(update=moves_the_encoder), "update must leave the encoder alone; got another map"),
        (odd(update=remembers_outside, change=times_factor), "it must go on from its state_dict"),
        (odd(forward=any_views), "1 views must be refused by a ValueError that begins with Odd"),
        (change(nan_where_padded), "the loss of padded series must be finite"),
        (odd(forward=reads_all), "padding must not be read"),
        (change(doubles_valid), "valid of all samples must change nothing"),
        (odd(forward=reads_none), "valid must be read"),
    ],
)  # fmt: skip
def test_objectives(build: Any, complaint: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=f"^Odd: {complaint}"):
        check_objective(build, Mean(), channels=2, length=20)


# Priors ---------------------------------------------------------------------------------------


class Sizes:
    """What a prior reads of a tokenizer."""

    sizes = (5, 7)
    codebook_sizes = ((3, 4), (6, 2))


class OddPrior(PlainPrior):
    """A prior whose logits go through `change`."""

    def __init__(self) -> None:
        super().__init__(Sizes(), 2)
        self.register_buffer("seen", torch.zeros(()))

    def logits_of(self, *args: Any, **options: Any) -> Any:
        inner = super().logits_of(*args, **options)
        return lambda tokens, where: self.change(inner(tokens, where), tokens, where)

    def change(self, logits: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
        return logits


def prior(**changes: Any) -> Any:
    changes = {k: v if not callable(v) else (lambda f: lambda self, *a: f(*a))(v)
               for k, v in changes.items()}  # fmt: skip
    return type("Odd", (OddPrior,), changes)


class Drawing(OddPrior):
    def change(self, logits: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
        return logits + torch.rand_like(logits)


class Scribbling(OddPrior):
    def change(self, logits: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
        self.get_buffer("seen").add_(1)
        return logits


class Filling(OddPrior):
    def change(self, logits: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
        tokens.clamp_(min=0)
        return logits


class Lost(OddPrior):
    """Its temperature is no part of its state."""

    number = 0

    def __init__(self) -> None:
        super().__init__()
        Lost.number += 1
        self.temperature = 1.0 + Lost.number

    def change(self, logits: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
        return logits / self.temperature


class WithSizes(OddPrior):
    changes: dict[str, Any] = {}  # noqa: RUF012 - replaced by each case

    def __init__(self) -> None:
        super().__init__()
        for name, value in self.changes.items():
            setattr(self, name, value)


def sized(**changes: Any) -> Any:
    return type("WithSizes", (WithSizes,), {"changes": changes})


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (type("Odd", (OddPrior,), {"context": property()}), r"Odd: it must have all .*context"),
        (sized(sizes=[5, 7]), r"WithSizes: sizes must be a tuple of positive ints; got \[5, 7\]"),
        (sized(classes=-1), "WithSizes: classes must be an int >= 0; got -1"),
        (sized(codebook_sizes=((3, 4),)), "WithSizes: codebook_sizes must be as many as sizes"),
        (sized(codes_per_token=1), "WithSizes: codes_per_token must be the codebooks of each"),
        (sized(mask_index=4), "WithSizes: mask_index must be the largest codebook, 6; got 4"),
        (prior(change=lambda x, *_: x[:, 1:]), r"Odd: logits must have shape \(\d+, 3\); got"),
        (prior(change=lambda x, *_: x / 0), "Odd: logits must be finite"),
        (prior(change=lambda x, *_: x.flip(0)), "Odd: (logits must stand in the order|rows must)"),
        (prior(change=lambda x, t, w: x + w.float().mean()), "Odd: logits must stand in the order"),
        (prior(change=lambda x, t, w: x + t.float().mean()), "Odd: rows must be independent"),
        (Drawing, "Drawing: in evaluation it must not draw"),
        (Scribbling, "Scribbling: it must read, not write"),
        (Filling, "Filling: tokens and where must stay as they are|Filling: logits must"),
        (prior(change=lambda x, *_: x.detach()), "Odd: a gradient must reach its parameters"),
        (prior(change=lambda x, *_: x + (x - x.detach()).square().sum().sqrt()),
         "Odd: gradients must be finite"),
        (Lost, "Lost: the state_dict must carry all that logits need"),
    ],
)  # fmt: skip
def test_priors(build: Any, complaint: str) -> None:
    check_prior(OddPrior)
    with pytest.raises(AssertionError, match=f"^{complaint}"):
        check_prior(build)
