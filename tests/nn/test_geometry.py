"""How many halvings, and the sizes they leave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssltok.nn import downsampling_stages
from ssltok.nn._geometry import halvings

# Oracle ---------------------------------------------------------------------------------------


@given(frames=st.integers(1, 5000), width=st.integers(1, 64))
def test_it_is_the_power_of_two_nearest_in_ratio(frames: int, width: int) -> None:
    """Among all counts that leave a frame, none brings the ratio to `width` closer to 1."""

    def distance(stages: int) -> float:
        wished: int = width << stages
        return max(frames / wished, wished / frames)

    possible = [stages for stages in range(14) if frames // 2**stages >= 1]
    assert distance(downsampling_stages(frames, width=width)) == min(map(distance, possible))


# Known values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "width", "stages"),
    [(65, 8, 3), (33, 8, 2), (251, 8, 5), (251, 32, 3), (5, 8, 0), (11, 8, 0), (12, 8, 1),
     (3, 1, 1)],
)  # fmt: skip
def test_stages(frames: int, width: int, stages: int) -> None:
    assert downsampling_stages(frames, width=width) == stages


def test_a_stride_two_convolution_halves_like_this() -> None:
    assert halvings(65, width=8) == [65, 32, 16, 8]
    assert halvings(500, width=32) == [500, 250, 125, 62, 31]


# Laws -----------------------------------------------------------------------------------------


@given(frames=st.integers(1, 5000), width=st.integers(1, 64))
def test_what_is_left_is_near_what_was_asked(frames: int, width: int) -> None:
    left = halvings(frames, width=width)[-1]
    assert left >= 1
    if frames >= width:
        assert int(width / 2**0.5) <= left <= width * 2**0.5
    else:
        assert left == frames


# Complaints -----------------------------------------------------------------------------------


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"downsampling_stages: frames must be >= 1; got 0"):
        downsampling_stages(0, width=8)
    with pytest.raises(ValueError, match=r"downsampling_stages: width must be >= 1; got 0"):
        downsampling_stages(8, width=0)
