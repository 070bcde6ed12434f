"""All objectives: the law of `Objective`, the law of options, and complaints."""

import copy
import inspect
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ssltok import training
from ssltok.masking import random_mask
from ssltok.quantizers import RandomProjectionQuantizer
from ssltok.testing import check_objective
from ssltok.training import Objective, ObjectiveBatch
from tests.training.objective_cases import (
    CASES,
    CHANNELS,
    DIM,
    FRAMES,
    LENGTH,
    PATCH,
    Frames,
    Halves,
    Patches,
    Series,
    Steps,
    Tokens,
    built,
    decoder,
    mlp,
    moments,
)

CLASSES = {
    name
    for name in training.__all__
    if inspect.isclass(thing := getattr(training, name))
    and issubclass(thing, nn.Module)
    and hasattr(thing, "draw")
}


def batch_of(objective: nn.Module, *, cases: int = 8, seed: int = 3) -> ObjectiveBatch:
    generator = torch.Generator().manual_seed(seed)
    assert isinstance(objective, Objective)
    shape = (cases, CHANNELS, LENGTH)
    views = [
        torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(objective.views)
    ]
    draws = objective.draw(cases, generator)
    return ObjectiveBatch(tuple(views), labels=torch.arange(cases) % 3 - 1, draws=draws, seed=2)


def test_every_objective_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == CLASSES
    assert len(CLASSES) >= 34


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_the_law(name: str, dtype: torch.dtype) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    encoder = case.encoder().to(dtype)
    check_objective(
        lambda own: case.build(own).to(dtype), encoder, channels=CHANNELS, length=LENGTH
    )


STATES = {"teacher", "queue", "center", "patch_center", "moment"}


@pytest.mark.parametrize("name", CASES)
def test_update_moves_state_where_there_is_some(name: str) -> None:
    encoder, objective = built(name)
    output = objective(encoder, batch_of(objective))
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *objective.parameters()]:
            if parameter.requires_grad:
                parameter.mul_(1.1)
    before = copy.deepcopy(objective.state_dict())
    objective.update(encoder, output.memory)  # type: ignore[operator]
    after = objective.state_dict()
    moved = {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
    children = dict(objective.named_children())
    states = {key for key in children if key in STATES}
    assert moved == states | ({"assign"} & children.keys())
    assert "frozen" not in moved
    assert bool(moved) == CASES[name].moves


class NoValues(TorchDispatchMode):
    """Refuse what must wait for a device: a value, or a shape that values decide."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        waits = name.startswith(("aten._local_scalar", "aten.nonzero", "aten.masked_select"))
        if name.startswith("aten.index.") or name.startswith("aten._unsafe_index."):
            waits = any(part is not None and part.dtype == torch.bool for part in args[1])
        assert not waits, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CASES)
def test_waits_for_no_value(name: str) -> None:
    """Without padding, whose rows are as many as they are."""
    encoder, objective = built(name)
    batch = batch_of(objective)
    with NoValues():
        output = objective(encoder, batch)
        output.loss.backward()
        objective.update(encoder, output.memory)  # type: ignore[operator]
    with pytest.raises(AssertionError, match="waits"), NoValues():
        output.loss.item()
    with pytest.raises(AssertionError, match="waits"), NoValues():
        batch.views[0][batch.views[0] > 0]


@pytest.mark.parametrize("name", CASES)
def test_options_can_be_read_back_and_build_an_equal_one(name: str) -> None:
    encoder, objective = built(name)
    parameters = list(inspect.signature(type(objective)).parameters.values())
    options = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert [p.name for p in parameters if p.name not in options] == ["encoder"]
    assert len(options) <= 8
    read = {option: getattr(objective, option) for option in options}
    for option, given in CASES[name].options().items():
        if given is None or isinstance(given, bool | int | float):
            assert read[option] == given, option
            assert type(read[option]) is type(given), option
            default = inspect.signature(type(objective)).parameters[option].default
            assert given != default, f"{option} is tried at its default"
        elif isinstance(given, nn.Module):
            assert isinstance(read[option], type(given)), option
    again = type(objective)(encoder, **read).double()
    ours, theirs = again.state_dict(), objective.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    again.load_state_dict(theirs)
    batch = batch_of(objective)
    assert torch.equal(copy.deepcopy(objective)(encoder, batch).loss, again(encoder, batch).loss)
    drawn = [part.draw(5, torch.Generator().manual_seed(1)) for part in (objective, again)]  # type: ignore[operator]
    assert all(map(torch.equal, *drawn))


def test_every_option_is_tried() -> None:
    for name in CLASSES:
        tried = {o for case in CASES.values() if case.name == name for o in case.options()}
        parameters = inspect.signature(getattr(training, name)).parameters
        options = parameters.keys() - {"encoder"}
        shared = {"projector", "pool", "hidden_dim"}  # one helper serves all classes
        assert options - tried <= shared, f"{name}: {options - tried}"


@pytest.mark.parametrize("name", CASES)
def test_features_of_the_caller_give_what_the_encoder_gives(name: str) -> None:
    encoder, objective = built(name)
    batch = batch_of(objective)
    if not isinstance(encoder, Tokens) and "NEPA" not in name:  # it encodes itself
        given = objective(encoder, batch._replace(features=batch.views))
        assert torch.equal(given.loss, copy.deepcopy(objective)(encoder, batch).loss)
        return
    features = encoder(torch.cat(batch.views)).chunk(len(batch.views))
    other = copy.deepcopy(objective)
    given = objective(encoder, batch._replace(features=features))
    assert torch.allclose(given.loss, other(encoder, batch).loss, rtol=1e-12)
    scaled = tuple(2 * part for part in features)
    assert not torch.equal(given.loss, objective(encoder, batch._replace(features=scaled)).loss)


@pytest.mark.parametrize(
    "name", [n for n, c in CASES.items() if c.encoder in (Series, Tokens, Frames, Halves)]
)
def test_views_of_one_length_are_encoded_in_one_pass(name: str) -> None:
    encoder, objective = built(name)
    sizes: list[int] = []
    encoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    batch = batch_of(objective)
    objective(encoder, batch)
    wanted = 1 if CASES[name].name in ("MoCo", "ReSSL") else len(batch.views)
    assert sizes == [8 * wanted]


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.options().get("views") == 3])
def test_views_may_have_several_lengths(name: str) -> None:
    encoder, objective = built(name)
    batch = batch_of(objective)
    short = (*batch.views[:2], batch.views[2][..., :12])
    sizes: list[int] = []
    encoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    loss = objective(encoder, batch._replace(views=short)).loss
    assert loss.isfinite()
    assert sizes == [16, 8]
    features = (*encoder(torch.cat(short[:2])).chunk(2), encoder(short[2]))
    assert torch.allclose(
        loss, objective(encoder, batch._replace(views=short, features=features)).loss, rtol=1e-12
    )


def test_a_batch_needs_what_the_objective_names() -> None:
    encoder, objective = built("SupCon")
    batch = batch_of(objective)
    with pytest.raises(ValueError, match=r"SupCon: labels must be given, -1 .*; got None"):
        objective(encoder, batch._replace(labels=None))
    with pytest.raises(ValueError, match=r"SupCon: labels must be int64; got torch.float32"):
        objective(encoder, batch._replace(labels=torch.zeros(8)))
    with pytest.raises(ValueError, match=r"SupCon: labels must be 8, one a series; got 7"):
        objective(encoder, batch._replace(labels=torch.zeros(7, dtype=torch.int64)))
    with pytest.raises(ValueError, match=r"SupCon: views must be 3; got 2"):
        objective(encoder, batch._replace(views=batch.views[:2]))
    with pytest.raises(ValueError, match=r"SupCon: views must share one batch; got \[8, 8, 7\]"):
        objective(encoder, batch._replace(views=(*batch.views[:2], batch.views[2][:7])))
    with pytest.raises(ValueError, match=r"SupCon: each view must be \(batch, channels, length\)"):
        objective(encoder, batch._replace(views=(*batch.views[:2], batch.views[2][0])))
    with pytest.raises(ValueError, match=r"SupCon: valid must have shape \(8, 24\); got \(8, 9\)"):
        objective(encoder, batch._replace(valid=torch.ones(8, 9, dtype=torch.bool)))
    features = (torch.zeros(8, DIM, dtype=torch.float64),) * 2
    with pytest.raises(ValueError, match=r"SupCon: features must be those of 3 views; got 2"):
        objective(encoder, batch._replace(features=features))
    with pytest.raises(ValueError, match=r"SupCon: features must share one batch; got \[8, 8, 5\]"):
        objective(encoder, batch._replace(features=(*features, features[0][:5])))
    encoder, objective = built("MAE")
    batch = batch_of(objective)
    with pytest.raises(ValueError, match=r"MAE: draws must be the 3 tensors that draw .*; got 0"):
        objective(encoder, batch._replace(draws=()))
    with pytest.raises(ValueError, match=r"MAE: draws must have 8 rows, one a series; got 7"):
        objective(encoder, batch._replace(draws=tuple(part[:7] for part in batch.draws)))
    longer = torch.zeros(8, CHANNELS, LENGTH + 1, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"MAE: the encoder must return|MAE: target must have 6"):
        objective(encoder, batch._replace(views=(longer,)))
    encoder, objective = built("TS2Vec")
    with pytest.raises(ValueError, match=r"TS2Vec: length must be at least 24, .*; got 23"):
        objective(encoder, batch_of(objective)._replace(views=(longer[..., : LENGTH - 1],)))
    encoder, objective = built("SwAV per token")
    batch = batch_of(objective)
    uneven = (batch.views[0], batch.views[1][..., :12])
    with pytest.raises(ValueError, match=r"SwAV: all views must have equally many rows .*48, 24"):
        objective(encoder, batch._replace(views=uneven))


class Bare(nn.Module):
    def __init__(self, **members: Any) -> None:
        super().__init__()
        for name, value in members.items():
            setattr(self, name, value)

    def forward(self, series: Tensor) -> Tensor:
        return series


IN_TIME = {"TS2Vec", "NEPA", "LeNEPA"}
PLAIN = sorted(CLASSES - {"MAE", "BEiT", "Data2Vec", "IBOT", "CAPI", "SALT"} - IN_TIME)
PARTS: dict[str, dict[str, Any]] = {
    "Alignment": {"teacher": moments, "teacher_dim": 2 * CHANNELS},
    "MAE": {"decoder": mlp(DIM, 3)},
    "BEiT": {"quantizer": RandomProjectionQuantizer(PATCH * CHANNELS, 4)},
    "SALT": {"decoder": mlp(DIM, DIM), "teacher": Patches()},
}


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_encoder_that_lacks_a_member_is_refused_when_it_is_built(name: str) -> None:
    build = partial(getattr(training, name), **PARTS.get(name, {}))
    with pytest.raises(TypeError, match=f"^{name}: encoder must be a module; got function"):
        build(lambda series: series)
    message = f"^{name}: the encoder must have an integer dim; got Bare with dim = "
    with pytest.raises(TypeError, match=message + "None"):
        build(Bare())
    with pytest.raises(TypeError, match=message + "2.5"):
        build(Bare(dim=2.5))
    with pytest.raises(TypeError, match=message + "True"):
        build(Bare(dim=True))
    with pytest.raises(ValueError, match=f"^{name}: dim of the encoder must be >= 1; got 0"):
        build(Bare(dim=0, frames=4, rows=1))
    if name in PLAIN:
        return
    with pytest.raises(TypeError, match=f"^{name}: the encoder must have an integer frames"):
        build(Bare(dim=4))
    if name == "TS2Vec":
        return
    with pytest.raises(TypeError, match=f"^{name}: the encoder must have an integer rows"):
        build(Bare(dim=4, frames=3))
    if name in IN_TIME:
        return
    with pytest.raises(TypeError, match=f"^{name}: the encoder's forward must take .*; got Bare"):
        build(Bare(dim=4, frames=3, rows=1))


def test_an_encoder_without_token_valid_takes_no_padding() -> None:
    for name in ("BarlowTwins per token", "MAE"):
        encoder, objective = built(name)
        batch = batch_of(objective)
        encoder.token_valid = None  # type: ignore[assignment]
        assert objective(encoder, batch).loss.isfinite()
        valid = torch.ones(8, LENGTH, dtype=torch.bool)
        with pytest.raises(TypeError, match=r"the encoder must have token_valid\(valid\)"):
            objective(encoder, batch._replace(valid=valid))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("BarlowTwins", {"redundancy_weight": -1.0}, "redundancy_weight must be >= 0; got -1"),
    ("Alignment", {"teacher_dim": 0}, "teacher_dim must be >= 1; got 0"),
    ("VICReg", {"invariance_weight": -1.0}, "invariance_weight must be >= 0; got -1"),
    ("VICReg", {"variance_weight": -1.0}, "variance_weight must be >= 0; got -1"),
    ("VICReg", {"covariance_weight": -1.0}, "covariance_weight must be >= 0; got -1"),
    ("VIbCReg", {"invariance_weight": -1.0}, "invariance_weight must be >= 0; got -1"),
    ("VIbCReg", {"variance_weight": -1.0}, "variance_weight must be >= 0; got -1"),
    ("VIbCReg", {"covariance_weight": -1.0}, "covariance_weight must be >= 0; got -1"),
    ("SIGReg", {"gaussian_weight": 1.5}, "gaussian_weight must lie in [0, 1]; got 1.5"),
    ("SIGReg", {"slices": 0}, "slices must be >= 1; got 0"),
    ("SIGReg", {"views": 1}, "views must be >= 2; got 1"),
    ("WMSE", {"eps": 2.0}, "eps must lie in [0, 1]; got 2.0"),
    ("WMSE", {"views": 1}, "views must be >= 2; got 1"),
    ("WMSE", {"sub_batch": 1}, "sub_batch must be >= 2; got 1"),
    ("WMSE", {"sub_batch": 8, "eps": 0.0, "projector_dim": 8}, "sub_batch must be >= 9; got 8"),
    ("NTXent", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("NTXent", {"views": 1}, "views must be >= 2; got 1"),
    ("SupCon", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("SupCon", {"views": 1}, "views must be >= 2; got 1"),
    ("BYOL", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("BYOL", {"predictor": mlp(256, 3)}, "predictor must return 256 features; got 3"),
    ("SimSiam", {"predictor": mlp(512, 3)}, "predictor must return 512 features; got 3"),
    ("MoCo", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("MoCo", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("SwAV", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("SwAV", {"epsilon": 0.0}, "epsilon must be > 0; got 0.0"),
    ("SwAV", {"views": 1}, "views must be >= 2; got 1"),
    ("DINO", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("DINO", {"teacher_temperature": 0.0}, "teacher_temperature must be > 0; got 0.0"),
    ("DINO", {"views": 1}, "views must be >= 2; got 1"),
    ("TS2Vec", {"mask_ratio": 1.5}, "mask_ratio must lie in [0, 1]; got 1.5"),
    ("TS2Vec", {"least_overlap": 0}, "least_overlap must be >= 1; got 0"),
    ("TS2Vec", {"least_overlap": 25}, "frames of the encoder must be >= 25; got 24"),
    ("TS2Vec", {"instance_weight": 1.5}, "instance_weight must lie in [0, 1]; got 1.5"),
    ("TS2Vec", {"temporal_unit": -1}, "temporal_unit must be >= 0; got -1"),
    ("MAE", {"mask_ratio": 0.9}, "mask_ratio must hide some of 6 places and not all; got 0.9"),
    ("MAE", {"mask_ratio": 0.0}, "mask_ratio must hide some of 6 places and not all; got 0.0"),
    ("BEiT", {"label_smoothing": 1.5}, "label_smoothing must lie in [0, 1]; got 1.5"),
    ("BEiT", {"head": mlp(DIM, 3)}, "what predicts must return 4 features; got 3"),
    ("Data2Vec", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("Data2Vec", {"top": 0}, "top must be >= 1; got 0"),
    ("Data2Vec", {"beta": -1.0}, "beta must be >= 0; got -1.0"),
    ("Data2Vec", {"predictor": mlp(DIM, 3)}, "what predicts must return 6 features; got 3"),
    ("LeJEPA", {"gaussian_weight": 1.5}, "gaussian_weight must lie in [0, 1]; got 1.5"),
    ("LeJEPA", {"slices": 0}, "slices must be >= 1; got 0"),
    ("LeJEPA", {"views": 1}, "views must be >= 2; got 1"),
    ("LeJEPA", {"global_views": 0}, "global_views must be >= 1; got 0"),
    ("LeJEPA", {"global_views": 3}, "global_views must be at most views; got 3 and 2"),
    ("VISReg", {"regularization_weight": -0.1}, "regularization_weight must lie in [0, 1]; got -"),
    ("VISReg", {"slices": 0}, "slices must be >= 1; got 0"),
    ("VISReg", {"views": 1}, "views must be >= 2; got 1"),
    ("VISReg", {"global_views": 3}, "global_views must be at most views; got 3 and 2"),
    ("FroSSL", {"invariance_weight": -1.0}, "invariance_weight must be >= 0; got -1"),
    ("FroSSL", {"views": 1}, "views must be >= 2; got 1"),
    ("MMCR", {"compression_weight": -1.0}, "compression_weight must be >= 0; got -1"),
    ("MMCR", {"views": 1}, "views must be >= 2; got 1"),
    ("EMPSSL", {"agreement_weight": -1.0}, "agreement_weight must be >= 0; got -1"),
    ("EMPSSL", {"eps": 0.0}, "eps must be > 0; got 0.0"),
    ("EMPSSL", {"views": 1}, "views must be >= 2; got 1"),
    ("SimDINO", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("SimDINO", {"agreement_weight": -1.0}, "agreement_weight must be >= 0; got -1"),
    ("SimDINO", {"eps": 0.0}, "eps must be > 0; got 0.0"),
    ("SimDINO", {"views": 1}, "views must be >= 2; got 1"),
    ("TiCo", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("TiCo", {"moment_momentum": 1.5}, "moment_momentum must lie in [0, 1]; got 1.5"),
    ("TiCo", {"contrast_weight": -1.0}, "contrast_weight must be >= 0; got -1"),
    ("NEPA", {"predictor": mlp(DIM, 3)}, "predictor must return 6 features; got 3"),
    ("LeNEPA", {"predictor": mlp(DIM, 3)}, "predictor must return 6 features; got 3"),
    ("LeNEPA", {"gaussian_weight": -1.0}, "gaussian_weight must be >= 0; got -1"),
    ("LeNEPA", {"slices": 0}, "slices must be >= 1; got 0"),
    ("CAPI", {"prototypes": 0}, "prototypes must be >= 1; got 0"),
    ("CAPI", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("CAPI", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("CAPI", {"teacher_temperature": 0.0}, "teacher_temperature must be > 0; got 0.0"),
    ("DCL", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("DCL", {"weight_temperature": 0.0}, "weight_temperature must be > 0; got 0.0"),
    ("LabelledNTXent", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("LabelledNTXent", {"views": 1}, "views must be >= 2; got 1"),
    ("MultiSimilarity", {"positive_scale": 0.0}, "positive_scale must be > 0; got 0.0"),
    ("MultiSimilarity", {"negative_scale": 0.0}, "negative_scale must be > 0; got 0.0"),
    ("MultiSimilarity", {"views": 1}, "views must be >= 2; got 1"),
    ("NNCLR", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("NNCLR", {"predictor": mlp(256, 3)}, "predictor must return 256 features; got 3"),
    ("ReSSL", {"temperature": 0.0}, "temperature must be > 0; got 0.0"),
    ("ReSSL", {"teacher_temperature": 0.0}, "teacher_temperature must be > 0; got 0.0"),
    ("ReSSL", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("SALT", {"mask_ratio": 0.9}, "mask_ratio must hide some of 6 places and not all; got 0.9"),
    ("SALT", {"mask_ratio": 1.5}, "mask_ratio must lie in [0, 1]; got 1.5"),
    ("SALT", {"beta": -1.0}, "beta must be >= 0; got -1.0"),
    ("SALT", {"teacher": Patches(2)}, "teacher must have the encoder's 6 frames and 1 rows; got"),
    ("VICRegL", {"matches": 0}, "matches must be >= 1; got 0"),
    ("VICRegL", {"global_weight": 1.5}, "global_weight must lie in [0, 1]; got 1.5"),
    ("VICRegL", {"variance_weight": -1.0}, "variance_weight must be >= 0; got -1"),
    ("VICRegL", {"covariance_weight": -1.0}, "covariance_weight must be >= 0; got -1"),
    ("IBOT", {"momentum": 1.5}, "momentum must lie in [0, 1]; got 1.5"),
    ("IBOT", {"teacher_temperature": 0.0}, "teacher_temperature must be > 0; got 0.0"),
]


def encoder_for(name: str) -> nn.Module:
    if name == "VICRegL":
        return Tokens()
    return Series() if name in PLAIN else Steps() if name == "TS2Vec" else Patches()


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_options_out_of_range_are_refused(name: str, options: Any, message: str) -> None:
    options = {**PARTS.get(name, {}), **options}
    with pytest.raises(ValueError, match=f"^{name}: {re.escape(message)}"):
        getattr(training, name)(encoder_for(name), **options)


WRONG = [
    *((name, "projector") for name in PLAIN if name != "DINO"),
    *((name, "pool") for name in PLAIN),
    ("Alignment", "teacher"), ("Alignment", "loss"), ("Alignment", "embed"),
    *((name, "predictor") for name in ("BYOL", "SimSiam", "Data2Vec", "NEPA", "LeNEPA", "NNCLR")),
    ("LeNEPA", "projector"), ("LeNEPA", "embed"), ("NEPA", "embed"),
    *((name, "head") for name in ("DINO", "IBOT", "BEiT")),
    ("IBOT", "patch_head"), ("MAE", "decoder"), ("BEiT", "quantizer"), ("SALT", "decoder"),
    ("SALT", "teacher"), ("VICRegL", "token_projector"), ("LabelledNTXent", "miner"),
    ("MultiSimilarity", "miner"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "option"), WRONG)
def test_parts_of_a_wrong_kind_are_refused(name: str, option: str) -> None:
    options = {**PARTS.get(name, {}), option: 3}
    with pytest.raises(TypeError, match=rf"^{name}: .* must be .*; got int"):
        getattr(training, name)(encoder_for(name), **options)


def test_parts_that_do_not_fit_are_refused() -> None:
    class Many(RandomProjectionQuantizer):
        def encode(self, latents: Tensor, valid: Tensor | None = None) -> Tensor:
            return super().encode(latents, valid)[:, None].repeat(1, 2)

    beit = training.BEiT(Patches(), quantizer=Many(8, 4))
    series = (torch.zeros(8, 2, 24),)
    batch = ObjectiveBatch(series, draws=beit.draw(8, torch.Generator()))
    with pytest.raises(ValueError, match=r"^BEiT: quantizer must give one code a vector; got cod"):
        beit(Patches(), batch)
    encoder = Patches()
    encoder.hidden_states = None  # type: ignore[method-assign, assignment]
    with pytest.raises(TypeError, match=r"^Data2Vec: the encoder must have hidden_states, or"):
        training.Data2Vec(encoder)
    objective = training.BEiT(
        Patches(), sampler=partial(random_mask, ratio=0.5),  # type: ignore[arg-type]
        quantizer=RandomProjectionQuantizer(8, 4),
    )  # fmt: skip
    with pytest.raises(TypeError, match=r"^BEiT: what sampler returns must be a tensor; got Rand"):
        objective.draw(4, torch.Generator())
    twins = training.BarlowTwins(Series(), projector_dim=8, pool=lambda x, real: x[:, 0])
    with pytest.raises(ValueError, match=r"^BarlowTwins: features to pool must be \(batch, tok"):
        twins(Series(), ObjectiveBatch(series * 2))
    mae = training.MAE(Patches(), decoder=decoder(8), mask_ratio=0.5, target=lambda x, real: x)
    batch = ObjectiveBatch(series, draws=mae.draw(8, torch.Generator()))
    with pytest.raises(ValueError, match=r"^MAE: target must have 6 places; got 2 for series of"):
        mae(Patches(), batch)


@pytest.mark.parametrize("name", ["BarlowTwins", "BYOL", "DINO", "BEiT"])
def test_a_part_of_the_caller_is_measured_and_stays_as_it_was(name: str) -> None:
    part = nn.Sequential(nn.Linear(DIM, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    option = "projector" if name in ("BarlowTwins", "BYOL") else "head"
    encoder, before = encoder_for(name), copy.deepcopy(part.state_dict())
    random = torch.get_rng_state()
    objective = getattr(training, name)(
        encoder, **PARTS.get(name, {}), **{option: part},
        **({"predictor": nn.Identity()} if name == "BYOL" else {}),
    )  # fmt: skip
    assert getattr(objective, option) is part
    assert all(module.training for module in part.modules())
    assert all(torch.equal(value, before[key]) for key, value in part.state_dict().items())
    assert torch.equal(random, torch.get_rng_state()), "a part of the caller's draws nothing"
    width = {"BarlowTwins": "projector_dim", "BYOL": "projector_dim", "DINO": "prototypes"}
    assert getattr(objective, width.get(name, "frames")) == {"BEiT": FRAMES}.get(name, 4)


def test_the_default_options_train_something() -> None:
    for name in sorted(CLASSES):
        encoder = encoder_for(name)
        objective = getattr(training, name)(encoder, **PARTS.get(name, {}) | DEFAULT.get(name, {}))
        batch = batch_of(objective, cases=80)
        views = tuple(view.float() for view in batch.views)
        assert objective(encoder, batch._replace(views=views)).loss.isfinite(), name


DEFAULT: dict[str, dict[str, Any]] = {
    "MAE": {"decoder": decoder(CHANNELS * PATCH)},
    "SALT": {"decoder": decoder(DIM)},
}
assert FRAMES * PATCH == LENGTH
