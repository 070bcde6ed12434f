"""Warped copies beside the series in stage 2: few series, many sequences of tokens."""

import dataclasses

import pytest
import torch

from ssltok.data import read_series
from ssltok.pipelines import (
    PriorConfig,
    SSLTokenizer,
    build_tokenizer,
    encode_series,
    shorten,
)
from ssltok.pipelines._stage_two._variants import variant_codes


def test_steps_draw_series_and_copies_and_end_of_series_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(6, 1, 40, generator=generator).cumsum(2)
    series[2, :, 30:] = torch.nan
    data = read_series(series)
    config = shorten("demo", steps=1)
    tokenizer = build_tokenizer(config.tokenizer, channels=1, length=40)
    tokenizer.fit_scale(data)
    scaled = tokenizer.scaled(data)
    codes = encode_series(tokenizer, scaled)
    prior = PriorConfig(variants=3, variant_std=0.3)
    pick = variant_codes(tokenizer, scaled, codes, prior, seed=4)
    assert pick is not None
    cases = torch.tensor([2, 0, 5, 2])
    drawn = [pick(cases, step) for step in range(40)]
    assert all(torch.equal((part < 0), (codes[cases] < 0)) for part in drawn)
    plain = sum(int((part == codes[cases]).all(dim=1).sum()) for part in drawn) / 160
    assert 0.1 < plain < 0.5  # one of four is the series itself
    assert torch.equal(drawn[7], pick(cases, 7))
    assert not torch.equal(drawn[0], drawn[1])


def test_no_copies_change_no_bit_and_copies_change_the_prior_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    series = torch.randn(8, 1, 32, generator=generator).numpy()
    config = shorten("demo", steps=2)
    more = dataclasses.replace(
        config, prior=dataclasses.replace(config.prior, variants=2, variant_std=0.2)
    )
    plain, varied = (SSLTokenizer(c, progress=False).fit(series) for c in (config, more))
    one, two = (m.artifact_.tokenizer.state_dict() for m in (plain, varied))
    assert all(torch.equal(one[k], two[k]) for k in one)
    first, second = (m.artifact_.prior.state_dict() for m in (plain, varied))
    assert not all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("options", [{"variants": -1}, {"variant_std": -0.1},
                                     {"variants": 10**6}])  # fmt: skip
def test_senseless_copies_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="PriorConfig: variant"):
        PriorConfig(**options)  # type: ignore[arg-type]
