"""Several codes a token, channels and hidden places, each beside what it is by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssltok.data import read_series
from ssltok.decoding import temperature_sample
from ssltok.masking import cosine_schedule
from ssltok.nn import average_max_pool
from ssltok.pipelines import (
    Branch,
    Decoding,
    Parts,
    Prior,
    SSLTokenizer,
    TokenFeatures,
    Tokenizer,
    TokenizerBatch,
    build_stage_one,
    build_tokenizer,
    decode_tokens,
    tokenizer_stage,
    tokenizer_step,
)
from ssltok.pipelines._words._build import starting_codebooks
from ssltok.pipelines._words._tables import place_patches
from ssltok.quantizers import (
    FSQ,
    GroupedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from tests.pipelines.small import series, small


def tokenizer_of(quantizer: nn.Module, *, channels: int = 1, **options: Any) -> Tokenizer:
    torch.manual_seed(0)
    config = small(dim=8, **options).tokenizer
    built = build_tokenizer(
        config, channels=channels, length=33, parts=Parts(quantizer=quantizer)
    ).eval()
    x = torch.from_numpy(series(6, channels=channels))
    built.scaler.fit(x)
    return built


@pytest.mark.parametrize(
    ("quantizer", "codes"),
    [
        (ResidualQuantizer([VectorQuantizer(8, 5)]), 1),
        (ResidualQuantizer([VectorQuantizer(8, 5), VectorQuantizer(8, 3)]), 2),
        (ResidualQuantizer([GroupedQuantizer([VectorQuantizer(4, 5), VectorQuantizer(4, 3)])
                            for _ in range(3)]), 6),
    ],
    ids=["one level", "two levels", "groups in levels"],
)  # fmt: skip
def test_codes_of_any_shape_go_in_a_row_and_back(quantizer: nn.Module, codes: int) -> None:
    tokenizer = tokenizer_of(quantizer)
    branch = tokenizer.parts[0]
    x = tokenizer.scale(torch.from_numpy(series(6)), torch.ones(6, 1, 33, dtype=torch.bool))
    latents = tokenizer.latents(tokenizer.bands(x))[0]
    result = branch.quantize(latents)
    row = tokenizer.flat(result.codes)
    tokens = tokenizer.sizes[0]
    assert row.shape == ((6, tokens) if codes == 1 else (6, tokens, codes))
    torch.testing.assert_close(tokenizer.vectors(row)[0], result.vectors)
    assert torch.equal(tokenizer.encode(x, torch.full((6,), 33)), row)
    branch.update(latents, result.codes)  # takes them as `quantize` gives them
    branch.revive(latents, result.codes, share=0.5, generator=torch.Generator())


def test_token_vectors_of_channels_follow_the_codes() -> None:
    """Token (channel, freq, frame) of a series is that of the channel's own series."""
    tokenizer = tokenizer_of(VectorQuantizer(8, 7), channels=3, channelwise=True, ssl="none")
    x = torch.from_numpy(series(4, channels=3))
    codes = tokenizer.encode(x, torch.full((4,), 33))
    vectors = tokenizer.token_vectors(codes)[0]
    book = tokenizer.parts[0].quantizer.codebook
    torch.testing.assert_close(vectors.transpose(1, 2), book[codes])
    assert len({tuple(row) for row in codes.unflatten(1, (3, -1))[0].tolist()}) > 1


def test_the_error_of_the_series_itself_is_counted_once() -> None:
    tokenizer = tokenizer_of(VectorQuantizer(8, 7), coder="conv")
    x = tokenizer.scale(torch.from_numpy(series(6)), torch.ones(6, 1, 33, dtype=torch.bool))
    batch = TokenizerBatch(x, (), torch.ones_like(x, dtype=torch.bool), torch.full((6,), 33))
    terms = tokenizer_step(tokenizer, batch).terms
    assert terms.spectrogram == 0
    rebuilt = tokenizer.decode(tokenizer.encode(x, batch.lengths))
    torch.testing.assert_close(terms.time, (rebuilt - x).square().mean())


class Recorder(nn.Module):
    """A transformer of three levels that keeps what it is asked, and answers a level's number."""

    codebook_sizes = (4, 5, 6)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, Tensor]] = []

    def forward(
        self, tokens: Tensor, where: Tensor, labels: Tensor | None, *, level: int = 0,
        valid: Tensor | None = None, context: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        self.asked.append((level, tokens.clone()))
        logits = torch.zeros(int(where.sum()), self.codebook_sizes[level])
        logits[:, level + 1] = 50.0
        return logits


def test_coarse_levels_come_first_and_are_seen_in_their_order() -> None:
    recorder = Recorder()
    prior = Prior([recorder], sizes=(3,), classes=0)
    assert prior.mask_index == 6
    hidden = torch.full((2, 3, 3), 6)
    hidden[1, 2] = -1
    rules = Decoding(
        steps=1, schedule=cosine_schedule, orders=(lambda state: state.logprob,),
        sample=temperature_sample(temperature=0.0),
    )  # fmt: skip
    filled = decode_tokens(
        prior, hidden, labels=torch.tensor([-1, -1]), decoding=rules, generator=torch.Generator()
    )
    assert filled[0].tolist() == [[1, 2, 3]] * 3
    assert filled[1].tolist() == [[1, 2, 3]] * 2 + [[-1] * 3]
    assert [level for level, _ in recorder.asked] == [0, 1, 2]
    seen = [tokens[0, 0].tolist() for _, tokens in recorder.asked]
    assert seen == [[4, 6, 6], [1, 5, 6], [1, 2, 6]]  # found, asked (hidden), not yet


def test_hidden_places_hide_their_samples_and_visible_ones_come_back() -> None:
    tokenizer = tokenizer_of(VectorQuantizer(8, 7), coder="conv", channels=2)
    features = TokenFeatures(tokenizer)
    assert (features.rows, features.dim) == (1, 8)
    x = torch.randn(3, 2, 33, generator=torch.Generator().manual_seed(0))
    masked = torch.zeros(3, features.frames, dtype=torch.bool)
    masked[0, 1], masked[2, -1] = True, True
    by_hand = x.clone()
    for case, place in ((0, 1), (2, features.frames - 1)):
        times = [t for t in range(33) if t * features.frames // 33 == place]
        assert times
        by_hand[case, :, times] = 0
    torch.testing.assert_close(features(x, masked=masked), features(by_hand))
    visible = torch.tensor([[2, 0], [1, 3], [0, -1]])
    shown = features(x, visible=visible)
    others = torch.ones(3, features.frames, dtype=torch.bool)
    for case, row in enumerate(visible.tolist()):
        others[case, [place for place in row if place >= 0]] = False
    whole = features(x, masked=others)
    for case, slot, place in ((0, 0, 2), (0, 1, 0), (1, 0, 1), (1, 1, 3), (2, 0, 0)):
        torch.testing.assert_close(shown[case, slot], whole[case, place])


def test_the_objectives_noise_differs_from_step_to_step() -> None:
    config = small(ssl="mae", coder="conv")
    model = build_stage_one(config, channels=1, length=33, batch=6, seed=0)
    data = read_series(series(10))
    stage, _, _ = tokenizer_stage(model, data, torch.full((10,), -1), config, seed=0, world=1)
    first, second = stage.draw(0, slice(None)), stage.draw(1, slice(None))
    assert first.seed != second.seed
    assert not torch.equal(first.draws[0], second.draws[0])
    again = stage.draw(1, slice(2, 5))
    assert again.seed == second.seed
    assert torch.equal(again.draws[0], second.draws[0][2:5])


def test_decoding_is_observed_once_however_many_series(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SSLTokenizer(small()).fit(series(10))
    steps: list[int] = []
    model.generate([None] * 300, seed=1, observe=lambda state, tokens: steps.append(len(tokens)))
    assert steps == [256] * 4


def test_pooled_features_of_channels_stand_side_by_side() -> None:
    tokenizer = tokenizer_of(FSQ([3] * 8), channels=2, channelwise=True, ssl="none", coder="conv")
    pooled = TokenFeatures(tokenizer, pool=average_max_pool)
    assert pooled.dim == 2 * 2 * 8
    x = torch.randn(3, 2, 33, generator=torch.Generator().manual_seed(0))
    both = pooled(x)
    alone = Tokenizer(
        tokenizer.transform,
        [Branch(b.encoder, b.quantizer, b.decoder) for b in tokenizer.parts],
        channels=1,
    ).eval()
    single = TokenFeatures(alone, pool=average_max_pool)
    for channel in range(2):
        torch.testing.assert_close(
            both[:, 16 * channel : 16 * (channel + 1)], single(x[:, channel : channel + 1])
        )


def test_the_patches_of_places_begin_where_the_places_do() -> None:
    x = torch.arange(22.0).reshape(1, 2, 11)
    valid = torch.arange(11)[None] < 9
    patches = place_patches(x, valid, begins=(0, 2, 5, 9), window=3)
    for place, begin in enumerate((0, 2, 5, 8)):  # the last ends with the series
        times = range(begin, begin + 3)
        expected = [[float(x[0, c, t]) if t < 9 else 0.0 for t in times] for c in range(2)]
        assert patches[0, place].tolist() == [*expected[0], *expected[1]]


@pytest.mark.parametrize("quantizer", ["residual", "grouped", "multi_scale"])
def test_a_quantizer_of_several_with_a_single_code_trains_and_draws(quantizer: Any) -> None:
    """Its codebook has an axis of one level, which a prior's table has not."""
    config = small(2, quantizer=quantizer, codes_per_token=1, codebook_size=6)
    model = SSLTokenizer(config, progress=False).fit(series(8))
    book = model.artifact_.tokenizer.parts[0].quantizer.codebook
    tables = starting_codebooks(model.artifact_.tokenizer)
    assert tables is not None
    assert tables[0].shape == (6, book.shape[-1])
    assert torch.equal(tables[0], book.reshape(6, -1))
    assert model.generate([None] * 2).series.shape == (2, 1, series(8).shape[-1])
