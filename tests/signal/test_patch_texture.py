"""Residual patches drawn for new codes: a naive search, distributions, and what has ended."""

import pytest
import torch
from torch import Tensor

from ssltok.signal import PatchTexture

ROWS, TOKENS, VALUES = 9, 6, 3


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def held(codes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Few codes, so that neighbours recur; two rows end early."""
    known = torch.randint(0, 3, (ROWS, TOKENS, codes), generator=random(seed))
    known[0, 4:], known[5, 2:] = -1, -1
    patches = torch.randn(ROWS, TOKENS, VALUES, generator=random(seed + 1))
    return known, patches * torch.arange(1, ROWS + 1)[:, None, None]


def candidates(known: Tensor, new: Tensor, row: int, place: int) -> list[tuple[int, int]]:
    """Training patches that may be drawn for a token, by the rule in words."""

    def at(codes: Tensor, n: int, i: int) -> int:
        return int(codes[n, i, 0]) if 0 <= i < TOKENS else -1

    for steps in ((-1, 1), (-1,), (1,), ()):
        hits = [
            (n, i)
            for n in range(ROWS)
            for i in range(TOKENS)
            if torch.equal(known[n, i], new[row, place])
            and all(at(known, n, i + s) == at(new, row, place + s) for s in steps)
        ]
        if hits:
            return hits
    return []


@pytest.mark.parametrize("codes", [1, 2])
def test_what_is_drawn_is_of_the_nearest_context(codes: int) -> None:
    known, patches = held(codes)
    texture = PatchTexture(ROWS, TOKENS, VALUES, codes=codes).fit(known, patches, weight=0.5)
    new = torch.randint(0, 4, (30, TOKENS, codes), generator=random(7))  # code 3 is known to none
    new[2, 3:] = -1
    drawn = texture(new, generator=random(1))
    assert drawn.shape == (30, TOKENS, VALUES)
    kinds = set()
    for row in range(30):
        for place in range(TOKENS):
            found = candidates(known, new, row, place) if int(new[row, place, 0]) >= 0 else []
            kinds.add(min(len(found), 2))
            if not found:
                assert not drawn[row, place].any()
                continue
            pool = torch.stack([0.5 * patches[n, i] for n, i in found])
            assert (pool == drawn[row, place]).all(1).any()
    assert kinds == {0, 1, 2}


def test_all_that_may_be_drawn_is_as_likely() -> None:
    known = torch.tensor([[0, 1], [0, 1], [0, 1], [0, 2]])
    patches = torch.arange(8.0).view(4, 2, 1)
    texture = PatchTexture(4, 2, 1).fit(known, patches)
    drawn = texture(torch.tensor([[0, 1]]).expand(6000, -1), generator=random(0))[:, 0, 0]
    values, counts = drawn.unique(return_counts=True)
    assert values.tolist() == [0.0, 2.0, 4.0]  # not 6: another neighbour
    assert (counts - 2000).abs().max() < 5 * (6000 * 2 / 9) ** 0.5


def test_draws_are_of_the_generator_and_many_levels_do_not_overflow() -> None:
    known = torch.randint(0, 2**20, (ROWS, TOKENS, 7), generator=random(0))
    patches = torch.randn(ROWS, TOKENS, VALUES, generator=random(1))
    texture = PatchTexture(ROWS, TOKENS, VALUES, codes=7).fit(known, patches)
    torch.testing.assert_close(texture(known, generator=random(2)), patches)
    assert torch.equal(texture(known, generator=random(3)), texture(known, generator=random(3)))
    empty = PatchTexture(ROWS, TOKENS, VALUES)
    assert not empty(torch.zeros(2, TOKENS, dtype=torch.int64)).any()
    again = PatchTexture(ROWS, TOKENS, VALUES, codes=7)
    again.load_state_dict(texture.state_dict())
    assert torch.equal(again(known, generator=random(4)), texture(known, generator=random(4)))


def test_complaints() -> None:
    known, patches = held(1)
    texture = PatchTexture(ROWS, TOKENS, VALUES)
    with pytest.raises(ValueError, match=r"^PatchTexture: rows must be >= 1; got 0$"):
        PatchTexture(0, 1, 1)
    with pytest.raises(ValueError, match=r"^PatchTexture: weight must be >= 0; got -1"):
        texture.fit(known, patches, weight=-1)
    with pytest.raises(ValueError, match=r"^PatchTexture: patches"):
        texture.fit(known, patches[..., :2])
    with pytest.raises(ValueError, match=r"^PatchTexture: codes"):
        texture.fit(known[:3], patches)
    with pytest.raises(ValueError, match=r"^PatchTexture: codes"):
        texture(known[:, :5, 0])
    with pytest.raises(ValueError, match=r"^PatchTexture: codes"):
        texture(known.float())
    with pytest.raises(TypeError, match=r"^PatchTexture: codes"):
        texture(known.tolist())
