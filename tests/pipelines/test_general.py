"""A tokenizer that needs no training: what its codes promise, whatever its weights are."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ssltok.data import read_series
from ssltok.pipelines import CodeStream, PretrainedTokenizer, SSLTokenizer
from ssltok.pipelines._general._frames import cut_of, level_codes, level_of
from tests.pipelines import general_model

SHAPES = [(1, 8), (1, 24), (3, 150), (2, 512), (1, 513), (2, 1300)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return general_model.folder(tmp_path_factory.mktemp("general"))


def walks(cases: int, channels: int, length: int, seed: int = 0) -> Any:
    steps = np.random.default_rng(seed).standard_normal((cases, channels, length))
    return steps.cumsum(axis=2).astype(np.float32)


def naive(series: Any, patch: int | None = None) -> Any:
    """One series `(channels, length)`, frame by frame, channel by channel, patch by patch."""
    network = general_model.codec()
    length, rows = series.shape[1], []
    frames = -(-length // 512)
    size = min(max(-(-length // (16 * frames)), 8), 32) if patch is None else patch
    for first in range(0, length, 16 * size):
        for channel in torch.from_numpy(series).double():
            frame = channel[first : first + 16 * size][None]
            level = level_codes(frame, torch.ones_like(frame, dtype=torch.bool))
            rows.append(level.codes)
            scaled = ((frame - level.offset) / level.size).float()
            latents = network.latents(scaled, None, patch=size)
            rest = latents[0]
            codes = []
            for part in network.quantizer.quantizers:
                book: Any = part.codebook
                nearest = torch.cdist(rest.double(), book.double()).argmin(dim=1)
                codes.append(nearest)
                rest = rest - book[nearest]
            rows.append(torch.stack(codes, dim=1))
    return torch.cat(rows).numpy()


# oracle


@pytest.mark.parametrize(("channels", "length"), SHAPES)
def test_codes_are_those_of_frame_after_frame(
    model: pathlib.Path, channels: int, length: int
) -> None:
    X = walks(3, channels, length)
    codes = SSLTokenizer.from_pretrained(model).encode(X)
    assert codes.dtype == np.int64
    for series, row in zip(X, codes, strict=True):
        assert_near(row, naive(series))


def assert_near(found: Any, wanted: Any) -> None:
    """The oracle's distances are float64 and the codebook is noise: a few near ties differ."""
    same = found == wanted
    first = len(same) - int(same[:, 0].sum())
    assert first <= max(1, 0.02 * len(same))
    assert same.size - int(same.sum()) <= max(3, 0.06 * same.size)


def test_a_patch_of_ones_own(model: pathlib.Path) -> None:
    X = walks(2, 2, 1000)
    for patch in (8, 40, 100):
        codes = SSLTokenizer.from_pretrained(model, patch=patch).encode(X)
        assert_near(codes[1], naive(X[1], patch))


@pytest.mark.parametrize(
    ("length", "patch", "frames"),
    [
        (8, 8, (8,)), (24, 8, (24,)), (128, 8, (128,)), (129, 9, (129,)), (512, 32, (512,)),
        (513, 17, (272, 241)), (1024, 32, (512, 512)), (2000, 32, (512, 512, 512, 464)),
    ],
)  # fmt: skip
def test_cuts_by_hand(length: int, patch: int, frames: tuple[int, ...]) -> None:
    cut = cut_of(length)
    assert (cut.patch, cut.frames) == (patch, frames)
    assert cut.patches == tuple(-(-f // patch) for f in frames)


# level and size


@given(
    st.floats(-1e15, 1e15),
    st.floats(1e-15, 1e15),
    st.lists(st.floats(-1, 1), min_size=2, max_size=9).filter(lambda x: np.std(x) > 1e-3),
)
def test_level_and_size_are_near_what_they_stand_for(
    mean: float, size: float, shape: list[float]
) -> None:
    z = (np.array(shape) - np.mean(shape)) / np.std(shape)
    x = torch.from_numpy(mean + size * z)[None]
    level = level_codes(x, torch.ones_like(x, dtype=torch.bool))
    assert bool(((level.codes >= 0) & (level.codes < 1024)).all())
    offset, deviation = float(x.mean()), float(x.std(unbiased=False))
    wanted = max(deviation, abs(offset) / 60_000)
    assert float(level.size) == pytest.approx(wanted, rel=0.05)
    assert float(level.offset) == pytest.approx(offset, abs=0.0626 * float(level.size))
    again = level_of(level.codes)
    assert torch.equal(again[0], level.offset)
    assert torch.equal(again[1], level.size)


def test_a_constant_keeps_its_value(model: pathlib.Path) -> None:
    X = np.stack([np.zeros(40), np.full(40, 7.0), np.full(40, -1e9), np.full(40, 3e-12)])
    tokenizer = SSLTokenizer.from_pretrained(model)
    rebuilt = tokenizer.reconstruct(X)[:, 0]
    assert np.abs(rebuilt[0]).max() == 0
    for row, value in zip(rebuilt[1:], (7.0, -1e9, 3e-12), strict=True):
        np.testing.assert_allclose(row, value, rtol=1e-4)
    assert tokenizer.encode(X).min() >= 0


def test_scale_and_level_do_not_matter_to_the_patches(model: pathlib.Path) -> None:
    """Powers of the step between two sizes, and multiples of the step between two offsets."""
    X = walks(4, 1, 200).astype(np.float64)
    tokenizer = SSLTokenizer.from_pretrained(model)
    codes = tokenizer.encode(X)
    step = 2.0 ** (120 / 1022)
    for power in (-300, 5, 40):
        moved = tokenizer.encode(X * step**power)
        assert (moved[:, 1:] == codes[:, 1:]).mean() > 0.999
        np.testing.assert_array_equal(moved[:, 0, 0], codes[:, 0, 0] + power)
        np.testing.assert_array_equal(moved[:, 0, 1:], codes[:, 0, 1:])


# laws


def test_decode_of_encode_is_reconstruct_and_features_come_from_codes(model: pathlib.Path) -> None:
    X = walks(5, 2, 530)
    tokenizer = SSLTokenizer.from_pretrained(model)
    codes = tokenizer.encode(X)
    np.testing.assert_array_equal(tokenizer.decode(codes, lengths=530), tokenizer.reconstruct(X))
    features = tokenizer.transform(X)
    assert features.dtype == np.float32
    assert features.shape[0] == 5
    assert features.shape[1] % 2 == 0
    # the same codes, the same features: what the codes do not say does not count
    np.testing.assert_allclose(
        tokenizer.transform(X[:, :1]), features[:, : features.shape[1] // 2], rtol=1e-4, atol=1e-4
    )


def test_frames_count_by_their_samples(model: pathlib.Path) -> None:
    X, tokenizer = walks(3, 1, 700), SSLTokenizer.from_pretrained(model, patch=24)
    whole, first, last = (tokenizer.transform(x) for x in (X, X[..., :384], X[..., 384:]))
    read = slice(0, whole.shape[1] - 32)  # the last are the outline
    wanted = (384 * first[:, read] + 316 * last[:, read]) / 700
    np.testing.assert_allclose(whole[:, read], wanted, rtol=1e-4, atol=1e-4)
    parts = np.array_split(tokenizer.reconstruct(X[..., :672])[:, 0], 32, axis=1)  # 21 each
    outline = tokenizer.transform(X[..., :672])[:, -32:]
    means = np.stack([p.mean(1) for p in parts], 1)
    np.testing.assert_allclose(outline, means, rtol=1e-4, atol=1e-4)


def test_each_channel_and_each_case_is_coded_by_itself(model: pathlib.Path) -> None:
    X = walks(3, 3, 300)
    tokenizer = SSLTokenizer.from_pretrained(model)
    codes, tokens = tokenizer.encode(X), tokenizer.encode(X[:1, :1]).shape[1]
    for channel in range(3):
        own = tokenizer.encode(X[:, channel])
        np.testing.assert_array_equal(own, codes[:, channel * tokens : (channel + 1) * tokens])
    for case in range(3):
        np.testing.assert_array_equal(tokenizer.encode(X[case : case + 1])[0], codes[case])


def test_unequal_lengths(model: pathlib.Path) -> None:
    parts = [walks(1, 2, n, seed=n)[0] for n in (40, 700, 130)]
    tokenizer = SSLTokenizer.from_pretrained(model)
    codes, rebuilt = tokenizer.encode(parts), tokenizer.reconstruct(parts)
    features = tokenizer.transform(parts)
    for case, series in enumerate(parts):
        own = tokenizer.encode(series[None])[0]
        np.testing.assert_array_equal(codes[case, : len(own)], own)
        assert (codes[case, len(own) :] == -1).all()
        length = series.shape[1]
        np.testing.assert_array_equal(
            rebuilt[case, :, :length], tokenizer.reconstruct(series[None])[0]
        )
        assert np.isnan(rebuilt[case, :, length:]).all()
        np.testing.assert_allclose(
            features[case], tokenizer.transform(series[None])[0], rtol=1e-4, atol=1e-4
        )
    lengths = [40, 700, 130]
    np.testing.assert_array_equal(tokenizer.decode(codes, lengths=lengths), rebuilt)


def test_missing_values(model: pathlib.Path) -> None:
    X = walks(4, 2, 600)
    X[0, 0, 100:130] = np.nan
    X[1, 1] = np.nan
    X[2, 0, :300] = np.nan  # nearly the first frame
    tokenizer = SSLTokenizer.from_pretrained(model)
    codes, rebuilt = tokenizer.encode(X), tokenizer.reconstruct(X)
    assert np.isfinite(rebuilt[0]).all()
    assert np.isnan(rebuilt[1, 1]).all()
    assert np.isfinite(rebuilt[1, 0]).all()
    assert np.isnan(rebuilt[2, 0, :300]).mean() in (0.0, 1.0)
    other = X.copy()
    np.testing.assert_array_equal(tokenizer.encode(other), codes)
    assert np.isfinite(tokenizer.transform(X)).all()
    assert np.isfinite(tokenizer.score(X))


def test_fewer_levels_are_a_prefix(model: pathlib.Path) -> None:
    X = walks(3, 1, 100)
    full = SSLTokenizer.from_pretrained(model).encode(X)
    for levels in (1, 2):
        tokenizer = SSLTokenizer.from_pretrained(model, levels=levels)
        codes = tokenizer.encode(X)
        np.testing.assert_array_equal(codes[:, 0], full[:, 0])
        np.testing.assert_array_equal(codes[:, 1:, :levels], full[:, 1:, :levels])
        assert (codes[:, 1:, levels:] == -1).all()
        np.testing.assert_array_equal(
            tokenizer.decode(codes, lengths=100), tokenizer.reconstruct(X)
        )


@pytest.mark.parametrize("chunk", [1, 77, 512, 5000])
def test_a_stream_gives_the_codes_of_the_whole(model: pathlib.Path, chunk: int) -> None:
    series = walks(1, 2, 1300)[0]
    series[1, 40:60] = np.nan
    tokenizer = SSLTokenizer.from_pretrained(model, patch=24, levels=2)
    stream = tokenizer.stream(channels=2)
    parts = [stream.push(series[:, i : i + chunk]) for i in range(0, 1300, chunk)]
    assert stream.waiting == 1300 % (24 * 16)
    parts.append(stream.finish())
    whole = tokenizer.encode(series[None])[0]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert stream.waiting == 0
    again = np.concatenate([stream.push(series), stream.finish()])  # it begins anew
    np.testing.assert_array_equal(again, whole)


def test_a_stream_of_one_channel_takes_flat_chunks_and_refuses_others(model: pathlib.Path) -> None:
    stream = SSLTokenizer.from_pretrained(model).stream()
    assert isinstance(stream, CodeStream)
    assert stream.push(np.arange(100)).shape == (0, 3)
    assert stream.finish().shape == (5, 3)
    assert stream.finish().shape == (0, 3)
    for chunk in (np.zeros((2, 5)), np.zeros((1, 1, 5)), [1.0, np.inf]):
        with pytest.raises(ValueError, match=r"a chunk must be \(1, samples\) and finite"):
            stream.push(chunk)


def test_layouts(model: pathlib.Path) -> None:
    X = walks(2, 3, 64)
    first = SSLTokenizer.from_pretrained(model)
    last = SSLTokenizer.from_pretrained(model, layout="channels_last")
    np.testing.assert_array_equal(last.encode(X.transpose(0, 2, 1)), first.encode(X))
    np.testing.assert_array_equal(
        last.reconstruct(X.transpose(0, 2, 1)), first.reconstruct(X).transpose(0, 2, 1)
    )


def test_score_is_the_share_of_the_variance(model: pathlib.Path) -> None:
    X = walks(6, 2, 90).astype(np.float64)
    X[:, 1] = 1e6 + 1000 * X[:, 1]
    tokenizer = SSLTokenizer.from_pretrained(model)
    wrong = ((X - tokenizer.reconstruct(X)) ** 2).sum(axis=(0, 2))
    spread = ((X - X.mean(axis=(0, 2), keepdims=True)) ** 2).sum(axis=(0, 2))
    assert tokenizer.score(X) == pytest.approx(1 - (wrong / spread).mean(), abs=1e-4)


def test_series_on_disk_are_read_block_by_block(
    model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    X = walks(300, 2, 40)
    X[7, :, 30:] = np.nan
    np.save(tmp_path / "x.npy", X)
    held, tokenizer = (
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        SSLTokenizer.from_pretrained(model),
    )
    for method in ("encode", "transform", "reconstruct"):
        call = getattr(tokenizer, method)
        np.testing.assert_array_equal(call(held), call(X))
    np.testing.assert_array_equal(tokenizer.encode(X)[290:], tokenizer.encode(X[290:]))
    many = walks(20, 60, 40)  # 1200 frames: more than a portion
    codes = tokenizer.encode(many)
    np.testing.assert_array_equal(codes[19], tokenizer.encode(many[19:])[0])
    np.testing.assert_allclose(
        tokenizer.decode(codes, lengths=40)[19],
        tokenizer.decode(codes[19:], lengths=40)[0],
        rtol=1e-5,
        atol=1e-5,
    )


# scikit-learn


def test_it_is_an_estimator(model: pathlib.Path) -> None:
    tokenizer = SSLTokenizer.from_pretrained(model, levels=2, seed=3)
    assert isinstance(tokenizer, PretrainedTokenizer)
    assert isinstance(tokenizer, SSLTokenizer)
    twin = clone(tokenizer)
    assert twin.get_params() == tokenizer.get_params()
    X = walks(8, 1, 60)
    np.testing.assert_array_equal(twin.encode(X), tokenizer.encode(X))
    assert twin.set_params(levels=1).encode(X)[:, 1:, 1].max() == -1
    pipe = make_pipeline(FrozenEstimator(tokenizer), LogisticRegression())
    assert pipe.fit(X, list("ab" * 4)).predict(X).shape == (8,)


# complaints


def test_options_are_asked(model: pathlib.Path) -> None:
    for options, message in (
        ({"levels": 0}, "levels must be 1, 2, 3 or None; got 0"),
        ({"levels": True}, "levels must be 1, 2, 3 or None"),
        ({"patch": 7}, r"patch must be an integer in \[8, 1024\]"),
        ({"patch": 2.0}, r"patch must be an integer in \[8, 1024\]"),
    ):
        with pytest.raises(ValueError, match=message):
            SSLTokenizer.from_pretrained(model, **options)
    tokenizer = SSLTokenizer.from_pretrained(model)
    codes = tokenizer.encode(walks(2, 1, 60))
    for bad, lengths, message in (
        (codes.astype(np.int32), 60, "int64"),
        (codes[:, :, 0], 60, r"\(cases, tokens, 3\)"),
        (codes + 2000, 60, r"lie in \[-1, 1024\)"),
        (codes, None, "lengths must be the samples"),
        (codes, [60], "lengths must be the samples"),
        (codes, 0, "lengths must be the samples"),
        (codes[:, :-1], 60, "must have 9 tokens"),
        (codes[:, :0], 60, "be some"),
    ):
        with pytest.raises(ValueError, match=message):
            tokenizer.decode(bad, lengths=lengths)
    with pytest.raises(ValueError, match="channels must be >= 1"):
        tokenizer.stream(channels=0)
    for name in ("nothing-7", "a/b/c", "", "./not/there"):
        with pytest.raises(ValueError, match="model must be general, general-1, a folder"):
            SSLTokenizer.from_pretrained(name)


def test_what_needs_a_prior_says_so(model: pathlib.Path) -> None:
    tokenizer, X = SSLTokenizer.from_pretrained(model), walks(2, 1, 40)
    calls: list[Callable[[], Any]] = [
        lambda: tokenizer.sample(1), lambda: tokenizer.impute(X),
        lambda: tokenizer.forecast(X, horizon=2), lambda: tokenizer.score_anomalies(X),
        lambda: tokenizer.save("nowhere"), lambda: tokenizer.tokens_,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFittedError, match="fit_prior or fit must come first"):
            call()


def test_every_series_that_is_refused_names_the_method(model: pathlib.Path) -> None:
    tokenizer = SSLTokenizer.from_pretrained(model)
    for method in ("encode", "transform", "reconstruct", "score", "fit", "fit_prior"):
        with pytest.raises(ValueError, match=f"SSLTokenizer.{method}: .*got infinity"):
            getattr(tokenizer, method)([[np.inf] * 9])
    assert read_series([[1.0] * 9]).cases == 1
