"""Each recipe of `examples/ssl` whose objective is here: equal loss, gradients and state.

A recipe encodes its views one after the other, an objective in one pass; so BatchNorm and IterNorm
are in evaluation mode here, where the two are the same, with the statistics of a batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import ssltok.losses
from ssltok import training
from ssltok.augment import multi_crop, overlapping_crops
from ssltok.masking import block_mask, span_mask
from ssltok.quantizers import VectorQuantizer
from ssltok.state import EMATeacher, FeatureQueue, Prototypes, RunningCenter
from ssltok.training import ObjectiveBatch
from tests.test_recipes import module_of, states_of

SEED, CASES = 11, 32


class Conv(nn.Module):
    """A recipe's convolutional encoder, with what an objective asks of one."""

    dim = 64

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder: Any = encoder

    def forward(self, series: Tensor) -> Tensor:
        out: Tensor = self.encoder(series)
        return out


class Vit(Conv):
    """A recipe's patch encoder: tokens, hidden or not."""

    rows = 1

    def __init__(self, encoder: Any) -> None:
        super().__init__(encoder)
        self.frames = encoder.count

    def forward(
        self, series: Tensor, *, masked: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        out: Tensor = self.encoder.vit(series, masked=masked, visible=visible)
        return out

    def hidden_states(self, series: Tensor) -> Any:
        return self.encoder.vit.hidden_states(series)


class StepsOf(Conv):
    rows = 1

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder)
        self.frames = 64

    def forward(self, series: Tensor, *, masked: Tensor | None = None) -> Tensor:
        out: Tensor = self.encoder.steps(series, mask=masked).transpose(1, 2)
        return out


def twice(name: str) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """The views of a recipe that looks twice by `views.<name>`."""

    def views(series: Tensor) -> tuple[Tensor, ...]:
        look = getattr(module_of("views"), name)
        return look(series), look(series)

    return views


def key_first(series: Tensor) -> tuple[Tensor, ...]:
    key, query = twice("view")(series)  # the recipe draws the key's view first
    return query, key


def crops(series: Tensor) -> tuple[Tensor, ...]:
    jitter = module_of("views").jitter
    parts = multi_crop(
        series, local_length=32, local_views=2, global_range=(0.6, 1.0), local_range=(0.3, 0.6)
    )
    return tuple(jitter(crop) for part in parts for crop in part)


def itself(series: Tensor) -> tuple[Tensor, ...]:
    return (series,)


class Twin(NamedTuple):
    """How a recipe is built as an objective: from its encoder, its parts and its loss."""

    family: str
    build: Callable[[nn.Module, Any, dict[str, Any]], nn.Module]
    views: Callable[[Tensor], tuple[Tensor, ...]]
    encoder: Callable[[Any], nn.Module] = Conv


def vq(encoder: Any, codebook: Tensor) -> VectorQuantizer:
    quantizer = VectorQuantizer(encoder.encoder.values, len(codebook)).double()
    quantizer.set_codebook(codebook)
    return quantizer


spans = partial(span_mask, ratio=0.5, length=2)
TWINS: dict[str, Twin] = {
    "barlow_twins": Twin(
        "redundancy_reduction",
        lambda e, p, v: training.BarlowTwins(e, projector=p), twice("view"),
    ),
    "vicreg": Twin(
        "redundancy_reduction", lambda e, p, v: training.VICReg(e, projector=p), twice("view")
    ),
    "vibcreg": Twin(
        "redundancy_reduction", lambda e, p, v: training.VIbCReg(e, projector=p), twice("view")
    ),
    "w_mse": Twin(
        "redundancy_reduction", lambda e, p, v: training.WMSE(e, projector=p), twice("view")
    ),
    "sigreg": Twin(
        "redundancy_reduction",
        lambda e, p, v: training.SIGReg(e, projector=p, slices=256), twice("view"),
    ),
    "simclr": Twin(
        "contrastive",
        lambda e, p, v: training.NTXent(e, projector=p, temperature=0.2), twice("view"),
    ),
    "moco": Twin(
        "contrastive",
        lambda e, p, v: training.MoCo(e, projector=p, queue_size=256, momentum=0.95), key_first,
    ),
    "supcon": Twin(
        "contrastive",
        lambda e, p, v: training.SupCon(e, projector=p, temperature=0.2), twice("view"),
    ),
    "byol": Twin(
        "self_distillation",
        lambda e, p, v: training.BYOL(e, projector=p[0], predictor=p[1], momentum=0.95),
        twice("view"),
    ),
    "simsiam": Twin(
        "self_distillation",
        lambda e, p, v: training.SimSiam(e, projector=p[0], predictor=p[1]), twice("view"),
    ),
    "dino": Twin(
        "self_distillation",
        lambda e, p, v: training.DINO(e, head=p, momentum=0.95, views=4), crops,
    ),
    "swav": Twin(
        "clustering",
        lambda e, p, v: training.SwAV(e, projector=p[0], prototypes=64, views=4), crops,
    ),
    "ts2vec": Twin("contrast_in_time", lambda e, p, v: training.TS2Vec(e), itself, StepsOf),
    "mae": Twin(
        "masked_reconstruction",
        lambda e, p, v: training.MAE(e, decoder=p, mask_ratio=0.6), itself, Vit,
    ),
    "beit": Twin(
        "masked_tokens",
        lambda e, p, v: training.BEiT(
            e, quantizer=vq(e, v["codebook"]), head=p,
            sampler=partial(block_mask, ratio=0.4, least_area=2),
        ),
        itself, Vit,
    ),
    "best_rq": Twin(
        "masked_tokens",
        lambda e, p, v: training.BEiT(
            e, quantizer=v["quantizer"], head=p, sampler=partial(span_mask, ratio=0.4, length=2)
        ),
        itself, Vit,
    ),
    "data2vec": Twin(
        "latent_prediction",
        lambda e, p, v: training.Data2Vec(e, predictor=p, top=2, sampler=spans, momentum=0.99),
        itself, Vit,
    ),
    "ibot": Twin(
        "token_distillation",
        lambda e, p, v: training.IBOT(
            e, head=p[0], patch_head=p[1], momentum=0.95,
            sampler=partial(block_mask, ratio=0.3, least_area=2),
        ),
        twice("mild"), Vit,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Any:
    drawn = module_of("data").generated(train=80, test=20, length=64)
    two = drawn.train.repeat(1, 2, 1).double()  # 64 codes need 64 patches, exactly in float32 too
    return drawn._replace(train=two, test=drawn.test.repeat(1, 2, 1).double())


@pytest.fixture
def seeded(monkeypatch: pytest.MonkeyPatch) -> torch.Generator:
    """Where a recipe draws another way than from a seed for the step, it gets the objective's."""
    seeded = torch.Generator().manual_seed(SEED)
    sigreg = ssltok.losses.sigreg_loss
    monkeypatch.setattr(
        ssltok.losses, "sigreg_loss", lambda z, **o: sigreg(z, generator=seeded, **o)
    )

    def single(series: Tensor) -> Any:  # draws of a size of their own in float64
        cut = overlapping_crops(series.float())
        return cut._replace(first=cut.first.double(), second=cut.second.double())

    monkeypatch.setattr(module_of("contrast_in_time"), "overlapping_crops", single)
    return seeded


def nonlocals(function: Any) -> dict[str, Any]:
    names = function.__code__.co_freevars
    return {n: c.cell_contents for n, c in zip(names, function.__closure__ or (), strict=True)}


def in_evaluation(*modules: nn.Module) -> None:
    """Set the mode of everything, teachers included, whose own `eval` changes nothing."""
    for module in modules:
        for part in module.modules():
            part.training = False


def gradients(loss: Tensor, modules: list[nn.Module]) -> list[Tensor]:
    for module in modules:
        module.zero_grad()
    loss.backward()
    found = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
    return [grad.clone() for grad in found]


@pytest.mark.parametrize("name", TWINS)
def test_a_recipe_and_its_objective_are_one(name: str, data: Any, seeded: torch.Generator) -> None:
    twin = TWINS[name]
    torch.manual_seed(0)
    recipe = module_of(twin.family).METHODS[name](data)
    batch = module_of("recipe").Batch(data.train[:CASES], torch.arange(CASES) % 3)
    states = {type(s): s for s in states_of(recipe.loss_of) | states_of(recipe.after_step)}
    every: list[Any] = [recipe.encoder, recipe.parts, *states_of(recipe.after_step)]
    every += [part for part in nonlocals(recipe.loss_of).values() if isinstance(part, nn.Module)]
    for part in every:
        part.double()
    with torch.no_grad():
        recipe.loss_of(batch, 0)  # norms get the statistics of a batch, centres their scores
    encoder = twin.encoder(recipe.encoder)
    objective: Any = twin.build(encoder, recipe.parts, nonlocals(recipe.loss_of)).double()
    if EMATeacher in states:  # of the start: the student went on with statistics of its own
        recipe_teacher: Any = states[EMATeacher]
        recipe_teacher.update(student_of(recipe_teacher, recipe, nonlocals(recipe.after_step)),
                              momentum=0.0)  # fmt: skip
    if FeatureQueue in states:
        objective.queue.load_state_dict(states[FeatureQueue].state_dict())
    in_evaluation(*every, encoder, objective)
    trained = [recipe.encoder, recipe.parts]
    with torch.no_grad():  # a student that is not its teacher
        for module in trained:
            for parameter in module.parameters():
                parameter += 0.1 * torch.randn_like(parameter) * parameter.std(correction=0)
        if Prototypes in states:
            objective.assign.load_state_dict(states[Prototypes].state_dict())

    seeded.manual_seed(SEED)
    torch.manual_seed(SEED)
    wanted = recipe.loss_of(batch, 1)
    wanted_grads = gradients(wanted, trained)
    torch.manual_seed(SEED)
    views = twin.views(batch.series)
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    draws = objective.draw(CASES, generator)
    given = ObjectiveBatch(views, labels=batch.labels, draws=draws, seed=SEED)
    if name == "swav":
        trained = [recipe.encoder, recipe.parts[0], objective.assign]
    output = objective(encoder, given)
    grads = gradients(output.loss, trained)
    assert torch.allclose(output.loss, wanted, rtol=1e-10, atol=0)
    assert len(grads) == len(wanted_grads) > 0
    for ours, theirs in zip(grads, wanted_grads, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-11 * float(theirs.abs().max() + 1))

    recipe.after_step(1)
    objective.update(encoder, output.memory)
    compare_states(objective, states_of(recipe.after_step))


def student_of(teacher: Any, recipe: Any, names: dict[str, Any]) -> nn.Module:
    """The module that a recipe's teacher follows."""
    for module in names.values():
        if isinstance(module, nn.Module) and type(module) is type(teacher.model):
            return module
    raise AssertionError("a teacher has a student")


def compare_states(objective: nn.Module, states: set[nn.Module]) -> None:
    """Compare teachers, queues and prototypes; and centres, of which a recipe may have two."""
    names = {EMATeacher: "teacher", FeatureQueue: "queue", Prototypes: "assign"}
    centers = sorted((s for s in states if isinstance(s, RunningCenter)), key=lambda s: s().norm())
    ours = [getattr(objective, n) for n in ("center", "patch_center") if hasattr(objective, n)]
    ours.sort(key=lambda s: s().norm())
    pairs: list[tuple[Any, nn.Module]] = list(zip(ours, centers, strict=True))
    pairs += [(getattr(objective, names[type(s)]), s) for s in states - set(centers)]
    assert len(pairs) == len(states)
    for mine, other in pairs:
        tensors = list(mine.state_dict().values()), list(other.state_dict().values())
        assert len(tensors[0]) == len(tensors[1]) > 0
        for a, b in zip(*tensors, strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)
