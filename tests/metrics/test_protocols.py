"""Protocols: what each does to the series, by the pieces it is made of, and its known defects."""

import pytest
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from ssltok.metrics import (
    FCNEncoder,
    RocketEncoder,
    encode,
    frechet_distance,
    nc_vqvae_protocol,
    timevqvae_2023_protocol,
    timevqvae_2024_protocol,
)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LABELS = torch.arange(24) % 2
TRAIN, TEST, MADE = draw(0, 24, 1, 13) + 3, draw(1, 22, 1, 13) + 3, 1.3 * draw(2, 25, 1, 13) + 3


# Oracle.


def test_timevqvae2023_is_its_pieces() -> None:
    scores = timevqvae_2023_protocol(
        TRAIN, LABELS, TEST, MADE, steps=2, splits=3, generator=seeded(5)
    )
    mean, std = TRAIN.mean(), TRAIN.std()
    x, test, made = ((s - mean) / std for s in (TRAIN, TEST, MADE))
    generator = seeded(5)
    fcn = FCNEncoder.fit(x, LABELS, steps=2, batch_size=256, generator=generator)
    expected = frechet_distance(encode(fcn, test), encode(fcn, made))
    torch.testing.assert_close(scores.frechet, expected)
    p = encode(fcn.logits, made).double().softmax(1)[torch.randperm(25, generator=generator)]
    parts = []
    for k in range(3):  # floor(25 / 3) = 8 each: the 25th is dropped, as published
        rows = p[8 * k : 8 * k + 8]
        kl = (rows * (rows.log() - rows.mean(0).log())).sum(1)
        parts.append(kl.mean().exp())
    torch.testing.assert_close(scores.inception, torch.stack(parts).mean())
    torch.testing.assert_close(scores.inception_spread, torch.stack(parts).std(correction=0))


def test_the_published_transform_and_back_is_a_cut_to_an_even_length() -> None:
    """A rectangular window of 8 with hop 2, at the code's two settings of n_fft."""
    for n_fft in (8, 4):
        window = torch.ones(n_fft)
        spectrum = torch.stft(TEST[:, 0], n_fft, hop_length=2, window=window, return_complex=True)
        back = torch.istft(spectrum, n_fft, hop_length=2, window=window)
        torch.testing.assert_close(back, TEST[:, 0, :12])


def test_ncvqvae_cuts_the_test_set_and_ignores_the_surplus() -> None:
    """12 of 13 points are left, and three series are surplus."""
    scores = nc_vqvae_protocol(TRAIN, LABELS, TEST, MADE, steps=2, generator=seeded(5))
    expected = timevqvae_2023_protocol(
        TRAIN[..., :12], LABELS, TEST[..., :12], MADE[:22, :, :12], steps=2, generator=seeded(5)
    )
    assert scores == expected
    even = nc_vqvae_protocol(
        TRAIN[..., :12], LABELS, TEST[..., :12], MADE[:22, :, :12], steps=2, generator=seeded(5)
    )
    assert even == expected


def test_timevqvae2024_drops_a_tenth_of_both_sets() -> None:
    seed = int(torch.randint(2**62, (), generator=seeded(3)))
    rocket = RocketEncoder(1, 13, kernels=1000, seed=seed)
    kept = []
    for x in (TEST, MADE):
        z = encode(rocket, x)
        z = (z / z.norm(dim=1, keepdim=True)).double()
        forest = IsolationForest(max_samples=0.9, contamination=0.1, random_state=0)
        kept.append(z[torch.from_numpy(forest.fit_predict(z.numpy())) == 1])
    assert [len(z) for z in kept] == [19, 22]
    result = timevqvae_2024_protocol(TEST, MADE, generator=seeded(3))
    torch.testing.assert_close(result, frechet_distance(kept[0], kept[1]), rtol=1e-5, atol=1e-8)


def test_timevqvae2024_cannot_see_one_wild_series() -> None:
    """Its known defect, on record: outliers are gone before the distance is taken."""
    wild = TEST.clone()
    wild[0] = 40 * draw(9, 1, 13)
    gone = timevqvae_2024_protocol(TEST, wild, generator=seeded(3))
    rocket = RocketEncoder(1, 13, seed=int(torch.randint(2**62, (), generator=seeded(3))))
    a, b = (torch.nn.functional.normalize(encode(rocket, x)) for x in (TEST, wild))
    assert gone < frechet_distance(a, b)


# Complaints.


def test_refuses() -> None:
    with pytest.raises(
        ValueError, match=r"^timevqvae_2023_protocol: cases of generated must be >= 10"
    ):
        timevqvae_2023_protocol(TRAIN, LABELS, TEST, MADE[:9])
    with pytest.raises(ValueError, match=r"^timevqvae_2023_protocol: splits must be >= 2; got 1$"):
        timevqvae_2023_protocol(TRAIN, LABELS, TEST, MADE, splits=1)
    with pytest.raises(
        ValueError, match=r"^timevqvae_2023_protocol: train_labels must have shape \(24,\)"
    ):
        timevqvae_2023_protocol(TRAIN, LABELS[:3], TEST, MADE)
    with pytest.raises(
        ValueError, match=r"^nc_vqvae_protocol: test and generated must have the same leng"
    ):
        nc_vqvae_protocol(TRAIN, LABELS, TEST, MADE[..., :9])
    with pytest.raises(ValueError, match=r"^nc_vqvae_protocol: length must be >= 2; got 1$"):
        nc_vqvae_protocol(TRAIN[..., :1], LABELS, TEST[..., :1], MADE[..., :1])
    with pytest.raises(
        ValueError, match=r"^timevqvae_2023_protocol: train and test must have the same len"
    ):
        timevqvae_2023_protocol(TRAIN[..., :9], LABELS, TEST, MADE)
    with pytest.raises(
        ValueError, match=r"^timevqvae_2024_protocol: cases of generated must be >= 10"
    ):
        timevqvae_2024_protocol(TEST, MADE[:9])
    broken = MADE.clone()
    broken[3, 0, 2] = torch.nan
    with pytest.raises(ValueError, match=r"generated must be finite; got 1 of 25 rows without$"):
        timevqvae_2024_protocol(TEST, broken)
    for protocol in (timevqvae_2023_protocol, nc_vqvae_protocol):
        with pytest.raises(
            ValueError, match=r"generated must be finite; got 1 of 25 rows without$"
        ):
            protocol(TRAIN, LABELS, TEST, broken)
