import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssltok.quantizers import RandomProjectionQuantizer

# --- oracle ---------------------------------------------------------------------------------------


@given(
    dim=st.integers(2, 9),
    code_dim=st.sampled_from([None, 1, 4]),
    normalize=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_nearest_normalised_projection(
    dim: int, code_dim: int | None, normalize: bool, seed: int
) -> None:
    """Equation 1 of BEST-RQ: both sides of unit length, the smallest distance."""
    generator = torch.Generator().manual_seed(seed)
    quantizer = RandomProjectionQuantizer(
        dim, 12, code_dim=code_dim, normalize=normalize, generator=generator
    ).double()
    x = 2 * torch.randn(20, dim, generator=generator, dtype=torch.float64) + 1
    y = x
    if normalize:
        y = (x - x.mean(dim=1, keepdim=True)) / (
            x.var(dim=1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
    if quantizer.projection is not None:
        y = torch.stack([quantizer.projection @ row for row in y])
    y = y / y.norm(dim=1, keepdim=True)
    distances = (y[:, None] - quantizer.codebook).norm(dim=2)
    vectors, codes, loss = quantizer(x)
    chosen = distances.gather(1, codes[:, None]).squeeze(1)
    torch.testing.assert_close(chosen, distances.amin(dim=1))
    assert torch.equal(vectors, quantizer.codebook[codes])
    assert loss == 0


# --- known values ---------------------------------------------------------------------------------


def test_without_projection_it_names_the_most_similar_direction() -> None:
    quantizer = RandomProjectionQuantizer(2, 3, normalize=False)
    quantizer.vectors.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]]))
    assert quantizer.encode(torch.tensor([[9.0, 1.0], [0.1, 0.2], [-1.0, -1.0]])).tolist() == [
        0,
        1,
        2,
    ]


def test_codes_are_spread_evenly_over_the_sphere() -> None:
    """A normalised Gaussian is uniform on the sphere: the mean is 0, the covariance I / dim."""
    quantizer = RandomProjectionQuantizer(4, 20000, generator=torch.Generator().manual_seed(0))
    u = quantizer.codebook
    torch.testing.assert_close(u.norm(dim=1), torch.ones(20000))
    assert u.mean(dim=0).abs().max() < 0.02
    torch.testing.assert_close(u.T @ u / 20000, torch.eye(4) / 4, rtol=0, atol=0.01)
    fourth = u.pow(4).mean(dim=0)  # 3 / (dim * (dim + 2)): a normalised uniform cube has less
    torch.testing.assert_close(fourth, torch.full((4,), 0.125), rtol=0, atol=0.004)


def test_the_projection_is_xavier_s() -> None:
    quantizer = RandomProjectionQuantizer(
        300, 2, code_dim=100, generator=torch.Generator().manual_seed(0)
    )
    assert quantizer.projection is not None
    assert abs(quantizer.projection.var().item() * (300 + 100) / 2 - 1) < 0.02


# --- laws -----------------------------------------------------------------------------------------


def test_an_offset_does_not_collapse_the_codes() -> None:
    options = {"code_dim": 8}
    x = torch.randn(500, 16, generator=torch.Generator().manual_seed(0)) + 50
    used = []
    for normalize in (True, False):
        quantizer = RandomProjectionQuantizer(
            16, 32, normalize=normalize, generator=torch.Generator().manual_seed(1), **options
        )
        used.append(len(set(quantizer.encode(x).tolist())))
    assert used[0] > 25
    assert used[1] <= 3


def test_nothing_is_learned_and_all_is_saved() -> None:
    one, other = (
        RandomProjectionQuantizer(4, 6, code_dim=3, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    assert not list(one.parameters())
    assert set(one.state_dict()) == {"vectors", "projection"}
    x = torch.randn(30, 4, requires_grad=True)
    assert not one(x).vectors.requires_grad
    assert not torch.equal(one.encode(x), other.encode(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.encode(x), other.encode(x))


def test_it_draws_from_its_generator_alone() -> None:
    state = torch.get_rng_state()
    one, same = (
        RandomProjectionQuantizer(4, 6, code_dim=3, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.codebook, same.codebook)


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 1}, "dim with normalize must be >= 2; got 1"),
        ({"dim": 0, "normalize": False}, "dim must be >= 1; got 0"),
        ({"codebook_size": 0}, "codebook_size must be >= 1; got 0"),
        ({"code_dim": 0}, "code_dim must be >= 1; got 0"),
    ],
)
def test_it_refuses_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"RandomProjectionQuantizer: {message}"):
        RandomProjectionQuantizer(**{"dim": 3, "codebook_size": 5, **options})  # type: ignore[arg-type]


def test_it_refuses_other_widths_and_codes_out_of_range() -> None:
    quantizer = RandomProjectionQuantizer(3, 5)
    with pytest.raises(ValueError, match="latents must have size 3 in dimension -1; got 4"):
        quantizer(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"codes must lie in \[-1, 5\); got values from 5"):
        quantizer.decode(torch.tensor([5]))
