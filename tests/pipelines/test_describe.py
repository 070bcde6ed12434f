"""Parts as data: described, written, read and built they are the same, and nothing else is."""

import json
import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.augment import compose, shift
from ssltok.decoding import confidence_order, temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.nn import (
    ContextEmbedding,
    PatchEncoder1d,
    SpectrogramEncoder,
    TokenEmbedding,
    TokenTransformer,
)
from ssltok.nn import Transformer as Trunk
from ssltok.pipelines import (
    PartError,
    Parts,
    SSLTokenizer,
    build_described,
    build_prior,
    build_tokenizer,
    describe,
)
from ssltok.quantizers import FSQ, ProjectedQuantizer, ResidualQuantizer, VectorQuantizer
from ssltok.training import BYOL
from tests.pipelines.small import series, small


def through_json(part: object, **options: Any) -> Any:
    return build_described(json.loads(json.dumps(describe(part))), **options)


def built_by(name: str) -> nn.Module:
    """A tokenizer or prior of the pipeline: parts in parts."""
    config = small(widths=(2, 4))
    tokenizer = build_tokenizer(config.tokenizer, channels=2, length=33)
    return tokenizer if name == "tokenizer" else build_prior(config.prior, tokenizer, classes=3)


# Known values.


@pytest.mark.parametrize(
    ("part", "described"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2.5, 2.5),
        (math.inf, {"float": "inf"}),
        ("word", "word"),
        ((1, "a"), {"tuple": [1, "a"]}),
        ([1, (2,)], [1, {"tuple": [2]}]),
        (torch.tensor([1.5, 2.0]), {"tensor": [1.5, 2.0], "dtype": "float32"}),
        (FSQ, {"name": "ssltok.quantizers.FSQ"}),
        (cosine_schedule, {"name": "ssltok.masking.cosine_schedule"}),
        (nn.RMSNorm, {"name": "torch.nn.RMSNorm"}),
        (
            partial(BYOL, predictor_dim=8),
            {"partial": "ssltok.training.BYOL", "places": [], "options": {"predictor_dim": 8}},
        ),
        (
            partial(FSQ, [8, 5]),
            {"partial": "ssltok.quantizers.FSQ", "places": [[8, 5]], "options": {}},
        ),
        (
            confidence_order(temperature=2.0),
            {"call": "ssltok.decoding.confidence_order", "options": {"temperature": 2.0}},
        ),
        (
            compose(shift),
            {
                "call": "ssltok.augment.compose",
                "options": {"augmentations": {"tuple": [{"name": "ssltok.augment.shift"}]}},
            },
        ),
    ],
)  # fmt: skip
def test_known_descriptions(part: object, described: Any) -> None:
    assert describe(part) == described
    again = through_json(part)
    assert describe(again) == described
    assert type(again) is type(part)


# Laws.


@pytest.mark.parametrize("name", ["tokenizer", "prior"])
def test_whole_models_come_back(name: str) -> None:
    model = built_by(name).eval()
    again = through_json(model).eval()
    assert describe(again) == describe(model)
    again.load_state_dict(model.state_dict())
    if name == "tokenizer":
        x = torch.randn(3, 2, 33, generator=torch.Generator().manual_seed(0))
        lengths = torch.tensor([33, 20, 9])
        assert torch.equal(again.encode(x, lengths), model.encode(x, lengths))  # type: ignore[operator]
    for (key, old), (twin, new) in zip(model.named_modules(), again.named_modules(), strict=True):
        assert (key, type(old)) == (twin, type(new))


def test_a_rule_comes_back_as_a_rule_that_does_the_same() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    rule = temperature_sample(temperature=0.7)
    first, second = (
        r(logits, 0.5, torch.Generator().manual_seed(1)) for r in (rule, through_json(rule))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_shared_stays_shared_and_what_is_not_does_not(shared: bool) -> None:
    first = TokenEmbedding(6, 8)
    second = first if shared else TokenEmbedding(6, 8)
    context = ContextEmbedding(second, grid=(1, 4), onto=(1, 4))
    model = TokenTransformer(first, Trunk(8, depth=1, heads=2), tokens=4, context=context)
    again = through_json(model)
    assert (again.embedding is again.context.embedding) is shared
    assert set(again.state_dict()) == set(model.state_dict())


def test_levels_that_are_one_module_are_built_as_one() -> None:
    level = VectorQuantizer(4, 6)
    again = through_json(ResidualQuantizer([level, level, VectorQuantizer(4, 6)]))
    a, b, c = again.quantizers
    assert a is b
    assert b is not c


# What is somebody else's.


class Doubled(nn.Module):
    """Foreign: it stands in no list of ours."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def doubled(series: Tensor, **_: object) -> Tensor:
    return 2 * series


def test_foreign_parts_are_named_by_place_and_handed_over() -> None:
    module, rule = Doubled(), compose(shift, doubled)
    told = describe([module, rule], at="a")
    assert told[0] == {"foreign": f"{__name__}.Doubled", "at": "a.0"}
    places = {"a.0": module, "a.1.augmentations.1": doubled}
    again = build_described(told, parts=places, at="a")
    assert again[0] is module
    assert describe(again, at="a") == told
    said = rf"{__name__}.Doubled at 'a.0' is no part of ssltok and must be handed over: parts=\{{'a"
    with pytest.raises(PartError, match=said):
        build_described(told, at="a")
    with pytest.raises(PartError, match=r"asks for; got \['a.2'\] beside"):
        build_described(told, parts={**places, "a.2": module}, at="a")
    # Parts of other places are left to those who ask for them.
    build_described(told, parts={**places, "b.0": module, "ab": module}, at="a")
    with pytest.raises(PartError, match=r"must be handed over"):
        build_described(told, parts={"ab.0": module}, at="a")


def test_a_partial_of_somebody_elses_is_somebody_elses() -> None:
    assert describe(partial(doubled, scale=3)) == {"foreign": f"{__name__}.doubled", "at": ""}
    assert describe(lambda x: x)["foreign"].endswith("<lambda>")
    assert describe(nn.Linear(2, 3))["foreign"] == "torch.nn.modules.linear.Linear"


def test_a_class_that_calls_itself_ours_is_not() -> None:
    class FSQ(nn.Module):
        """An impostor."""

    FSQ.__module__ = "ssltok.quantizers._fsq"
    assert set(describe(FSQ())) == {"foreign", "at"}


class Noisy(FSQ):
    """A quantizer of somebody's, although it is one of ours with other levels."""

    def __init__(self) -> None:
        super().__init__([3, 3])


def test_a_saved_model_asks_for_foreign_parts_and_takes_their_weights(tmp_path: Any) -> None:
    model = SSLTokenizer(small(steps=1), quantizer=Noisy(), augment=doubled, seed=2)
    model.fit(series(), ["a", "b"] * 5)
    folder = model.save(tmp_path / "m")
    place = "tokenizer.branches.0.quantizer.quantizer"
    with pytest.raises(ValueError, match=rf"Noisy at '{place}' is no part of ssltok"):
        SSLTokenizer.load(folder)
    again = SSLTokenizer.load(folder, parts={place: Noisy()})
    assert (again.encode(series()) == model.encode(series())).all()
    assert (again.sample(3, seed=1) == model.sample(3, seed=1)).all()
    with pytest.raises(ValueError, match=r"branches.0.encoder'\] beside"):
        SSLTokenizer.load(folder, parts={place: Noisy(), "tokenizer.branches.0.encoder": Noisy()})
    with pytest.raises(ValueError, match=r"tensors missing or added"):
        SSLTokenizer.load(folder, parts={place: ProjectedQuantizer(FSQ([3]), 2)})


# Complaints.


WHOLE = {"levels": [8, 5], "channel_dim": -1}


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"name": "os.system"}, r"a part's name must be public in ssltok; got 'os.system' at ''"),
        ({"name": "ssltok.data.load_dataset"}, r"must be public"),
        ({"name": "ssltok.pipelines.run"}, r"must be public"),
        ({"name": "ssltok.pipelines.SSLTokenizer"}, r"must be public"),
        ({"name": "ssltok.quantizers._fsq.FSQ"}, r"must be public"),
        ({"name": "ssltok.quantizers.torch"}, r"must be public"),
        ({"name": "ssltok.nn.__dict__"}, r"must be public"),
        ({"name": "torch.nn.Linear"}, r"must be public"),
        ({"name": "torch.hub.load"}, r"must be public"),
        ({"name": ["ssltok", "nn", "MLP"]}, r"must be public"),
        ({"partial": "builtins.eval", "places": ["1"], "options": {}}, r"must be public"),
        ({"module": "subprocess.run", "options": {}}, r"must be public"),
        ({"call": "os.system", "options": {"command": "x"}}, r"must be public"),
        ({"call": "ssltok.nn.mean_pool", "options": {}}, r"a function that makes rules; got ssl"),
        ({"call": "ssltok.quantizers.FSQ", "options": WHOLE}, r"a function that makes rules"),
        (
            {"call": "ssltok.masking.cosine_schedule", "options": {"progress": 0.5}},
            r"(a function that makes rules|refuses its options)",
        ),
        (
            {"call": "ssltok.decoding.confidence_order", "options": {"x": 1}},
            r"must have its own options; got \['x'\]",
        ),
        (
            {"call": "ssltok.decoding.confidence_order", "options": {"temperature": -1}},
            r"refuses its options at '' \(confidence_order: temperature must be >= 0; got -1\)",
        ),
        ({"module": "ssltok.nn.mean_pool", "options": {}}, r"must be a module's class; got ssltok"),
        ({"module": "ssltok.quantizers.FSQ", "options": {"channel_dim": 1}}, r"\['levels'\]"),
        ({"module": "ssltok.quantizers.FSQ", "options": {**WHOLE, "levels": []}}, r"FSQ refuses"),
        (
            {"module": "ssltok.quantizers.FSQ", "options": WHOLE, "number": [1]},
            r"a module's number must be a number; got \[1\]",
        ),
        ({"module": "ssltok.quantizers.FSQ", "options": [8, 5]}, r"must have a known form; got"),
        ({"same": 0}, r"a part must have a known form; got \['same'\]"),
        ({"same": [1]}, r"a part must have a known form; got \['same'\]"),
        ({"float": "1e9"}, r"a part must have a known form; got \['float'\]"),
        ({"tuple": 3}, r"a part must have a known form; got \['tuple'\]"),
        ({"tensor": [[1], [1, 2]], "dtype": "float32"}, r"a tensor must be numbers; got"),
        ({"tensor": [1], "dtype": "load"}, r"a tensor must be numbers; got dtype 'load'"),
        ({"tensor": [0] * (2**16 + 1), "dtype": "int64"}, r"at most 65536 numbers; got more"),
        ({"anything": 1}, r"a part must have a known form; got \['anything'\]"),
        (object(), r"a part must be plain; got object"),
        (2**20 + 1, r"numbers must be at most 1048576; got 1048577 at "),
        (-(2**21), r"numbers must be at most"),
        (1e30, r"numbers must be at most"),
        (math.nan, r"numbers must be at most 1048576; got nan"),
        (math.inf, r"numbers must be at most 1048576; got inf"),
    ],
)  # fmt: skip
def test_refuses_to_build(description: Any, said: str) -> None:
    with pytest.raises(PartError, match=said):
        build_described(description)
    if not isinstance(description, float) and type(description) is not object:
        with pytest.raises(PartError, match=r".*x.0|known form"):
            build_described([description], at="x")


def nested(depth: int, item: Any) -> Any:
    for _ in range(depth):
        item = [item]
    return item


def test_limits() -> None:
    assert build_described(describe(nested(40, 2**20))) == nested(40, 2**20)
    with pytest.raises(PartError, match=r"nested at most 40 deep"):
        describe(nested(41, 1))
    with pytest.raises(PartError, match=r"nested at most 40 deep"):
        build_described(nested(41, 1))
    with pytest.raises(PartError, match=r"levels.0: numbers must be at most 1048576; got 1048577"):
        describe(partial(FSQ, levels=[2**20 + 1]))
    with pytest.raises(PartError, match=r"tensors must have at most 65536 numbers; got 65537"):
        describe(torch.zeros(2**16 + 1))


def test_options_are_read_from_the_part_as_it_is() -> None:
    encoder = SpectrogramEncoder(2, 4, bins=3, frames=16, width=8, blocks=2)
    assert describe(encoder)["options"]["blocks"] == 2
    assert describe(Parts(quantizer=FSQ).quantizer) == {"name": "ssltok.quantizers.FSQ"}


def test_an_option_younger_than_the_description_has_its_default() -> None:
    """What was written before `channel_dim`, `temperature` and the like existed is still built."""
    plain = describe(PatchEncoder1d(2, 6, length=24, patch=4))
    assert plain["options"].pop("gaps") is False
    assert describe(build_described(plain)) == describe(PatchEncoder1d(2, 6, length=24, patch=4))
    rule = build_described({"call": "ssltok.decoding.confidence_order", "options": {}})
    assert describe(rule) == describe(confidence_order())
