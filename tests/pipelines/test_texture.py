"""The grain of new series: learned where it helps, drawn with the tokens, saved with the model."""

import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import torch

from ssltok.data import read_series
from ssltok.pipelines import SSLTokenizer, auto
from ssltok.pipelines._uses._texture import (
    _as_patches,
    _as_series,
    _rows,
    fit_texture,
    texture_of,
    unpaired_distance,
)
from ssltok.signal import PatchTexture
from tests.pipelines.small import small

GRAIN: dict[str, Any] = {
    "coder": "patch", "widths": (6,), "ssl": "none", "revival_ratio": 0.0, "texture": True,
    "codebook_size": 8,
}  # fmt: skip


def noisy(cases: int = 40, channels: int = 2, length: int = 33, *, noise: float = 1.0) -> Any:
    """Levels that a code can say, and noise that it cannot."""
    rng = np.random.default_rng(0)
    steps = rng.choice([-3.0, 3.0], (cases, channels, 6)).repeat(6, axis=2)[..., :length]
    return (steps + noise * rng.normal(size=steps.shape)).astype(np.float32)


def fitted(x: Any, **options: Any) -> SSLTokenizer:
    return SSLTokenizer(small(20, **GRAIN | options), progress=False, seed=0).fit(x)


@pytest.fixture(scope="module")
def model() -> SSLTokenizer:
    return fitted(noisy())


def test_noise_that_codes_cannot_say_comes_back(model: SSLTokenizer) -> None:
    """New series are as rough as real ones, where decoded codes alone are smooth."""
    tokenizer = model.artifact_.tokenizer
    assert isinstance(tokenizer.texture, PatchTexture)
    assert float(tokenizer.texture.weight) == 1.0  # noise of its full size, not of half or none
    drawn = model.generate([None] * 40, seed=1)
    plain = tokenizer.in_units(tokenizer.decode(torch.as_tensor(drawn.codes)))
    rough = [float(np.abs(np.diff(np.asarray(s), n=2)).mean()) for s in (drawn.series, plain)]
    real = float(np.abs(np.diff(noisy(), n=2)).mean())
    assert rough[1] < 0.7 * real
    assert abs(rough[0] - real) < abs(rough[1] - real) / 2


def test_half_is_taken_where_the_asked_half_of_the_series_is_half_as_noisy() -> None:
    """Texture is of the series with even places, and is asked of those with odd ones."""
    levels, full = noisy(noise=0.0), noisy(noise=1.0)
    mixed = full.copy()
    mixed[1::2] = levels[1::2] + 0.5 * (full - levels)[1::2]
    assert float(fitted(mixed).artifact_.tokenizer.texture.weight) == 0.5


@pytest.mark.parametrize("channelwise", [False, True])
def test_patches_are_cut_as_tokens_are(channelwise: bool) -> None:
    model = fitted(noisy(), channelwise=channelwise)
    tokenizer = model.artifact_.tokenizer
    series = torch.randn(5, 2, 33)
    patches = _as_patches(tokenizer, series)
    torch.testing.assert_close(_as_series(tokenizer, patches), series)
    codes = tokenizer.encode(series, torch.tensor([33, 33, 20, 33, 33]))
    rows = _rows(tokenizer, codes)
    assert rows.shape[:2] == patches.shape[:2]
    assert (rows[2 * (2 if channelwise else 1), 4:] == -1).all()  # 20 samples are four patches of 6
    added = texture_of(tokenizer, codes, generator=torch.Generator().manual_seed(0))
    assert added.shape == series.shape
    assert not added[2, :, 24:].any()


def test_nothing_is_added_where_that_is_no_help(model: SSLTokenizer) -> None:
    tokenizer = model.artifact_.tokenizer
    kept, x = tokenizer.texture, read_series(noisy())
    try:
        with torch.no_grad():
            flat = tokenizer.scaled(read_series(np.asarray(model.reconstruct(noisy()))))
        fit_texture(tokenizer, flat, seed=0)  # series that tokens say: nothing is left over
        few = tokenizer.scaled(x.take(torch.arange(5)))
        rest = tokenizer.texture
        assert rest is None or float(rest.patches.abs().mean()) < 0.3 * float(
            kept.patches.abs().mean()
        )
        fit_texture(tokenizer, few, seed=0)
        assert tokenizer.texture is None
    finally:
        tokenizer.texture = kept
    assert fitted(noisy(), coder="spectrogram").artifact_.tokenizer.texture is None
    assert fitted(noisy(), texture=False).artifact_.tokenizer.texture is None


def test_tokens_and_what_is_rebuilt_are_as_without(model: SSLTokenizer) -> None:
    without = fitted(noisy(), texture=False)
    np.testing.assert_array_equal(model.encode(noisy()), without.encode(noisy()))
    np.testing.assert_array_equal(model.reconstruct(noisy()), without.reconstruct(noisy()))
    some = [m.generate([None] * 3, seed=2).codes for m in (model, without)]
    assert torch.equal(*(torch.as_tensor(codes) for codes in some))


def test_missing_values_leave_nothing_over() -> None:
    x = noisy()
    x[::3, 1, 8:20] = np.nan
    texture = fitted(x).artifact_.tokenizer.texture
    assert isinstance(texture, PatchTexture)
    patches = texture.patches.unflatten(2, (2, 6))
    assert not patches[::3, 2, 1].any()  # samples 12 to 17 of channel 1
    assert patches[::3, 2, 0].any()


def test_saved_loaded_and_resumed_to_the_bit(model: SSLTokenizer, tmp_path: pathlib.Path) -> None:
    expected = np.asarray(model.sample(5, seed=3))
    loaded = SSLTokenizer.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.sample(5, seed=3), expected)
    options: dict[str, Any] = {"checkpoints": tmp_path / "run", "progress": False, "seed": 0}
    first = SSLTokenizer(small(20, **GRAIN), **options).fit(noisy())
    np.testing.assert_array_equal(first.sample(5, seed=3), expected)
    newest = sorted((tmp_path / "run" / "prior").glob("step_*"))[-1]
    shutil.rmtree(newest)
    again = SSLTokenizer(small(20, **GRAIN), **options).fit(noisy())
    np.testing.assert_array_equal(again.sample(5, seed=3), expected)


def test_the_distance_is_without_bias_and_pairs_do_not_meet() -> None:
    """Two samples of one law are at 0 in the mean, however near their rows lie in pairs."""
    rng = torch.Generator().manual_seed(0)
    distances = []
    for _ in range(400):
        real = torch.randn(12, 3, generator=rng)
        near = real + 0.01 * torch.randn(12, 3, generator=rng)
        distances.append(unpaired_distance(real, near))
    spread = float(np.std(distances)) / 20
    assert abs(float(np.mean(distances))) < 4 * spread
    x, y = [1.0, 2.0, 4.0], [0.0, 1.0, 3.0]

    def k(a: float, b: float) -> float:
        return (a * b + 1) ** 3

    rows = [(i, j) for i in range(3) for j in range(3) if i != j]
    by_hand = np.mean([k(x[i], x[j]) + k(y[i], y[j]) - 2 * k(x[i], y[j]) for i, j in rows])
    columns = [torch.tensor(values)[:, None] for values in (x, y)]
    assert unpaired_distance(*columns) == pytest.approx(float(by_hand), rel=1e-5)


def test_what_is_learned_after_stage_one_changes_no_weight_and_no_mode() -> None:
    """Codes are decoded as in use, not as in training, whatever norms a coder has."""
    from ssltok.pipelines._large._encode_rows import decode_rows

    tokenizer = fitted(noisy(), coder="spectrogram", texture=False).artifact_.tokenizer
    data = tokenizer.scaled(read_series(noisy()))
    codes = tokenizer.encode(data.values, data.lengths)
    expected = tokenizer.eval().decode(codes)
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    tokenizer.train()
    try:
        torch.testing.assert_close(decode_rows(tokenizer, codes), expected)
        assert tokenizer.training
        after = tokenizer.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())
    finally:
        tokenizer.eval()


def test_a_fit_says_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    for x, words in (
        (noisy(), "new series get 100% of the texture that tokens leave out"),
        (noisy(5), "new series are what their tokens say: no texture is added"),
    ):
        SSLTokenizer(small(20, **GRAIN), progress=False, seed=0, verbose=True).fit(x)
        assert words in capsys.readouterr().err


def test_auto_has_it_and_says_so() -> None:
    data = read_series(noisy())
    plan = auto(data)
    assert plan.config.tokenizer.texture
    assert any("new series get texture" in reason for reason in plan.reasons)
    given = auto(data, given={"tokenizer__texture": False})
    assert not any("new series get texture" in reason for reason in given.reasons)
