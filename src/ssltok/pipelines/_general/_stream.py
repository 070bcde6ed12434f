"""Codes of a series that is still coming in."""

from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from ssltok.pipelines._general._codec import PATCHES, GeneralCodec
from ssltok.pipelines._general._coding import encode_frames

__all__ = ["CodeStream"]


class CodeStream:
    """Encode one series chunk by chunk: the codes are those of the whole series at once.

    Frames do not overlap, and none reads another: the state is what is left of the last frame.
    `SSLTokenizer.stream` makes one.

    Args:
        codec: The network.
        channels: Channels of the series.
        patch: Samples of a patch; a frame has 16 of them.
        levels: Codes of a patch; the others are -1.

    Attributes:
        waiting: Samples that no codes were given for yet.

    Example:
        >>> import numpy as np
        >>> from ssltok.pipelines import SSLTokenizer
        >>> tokenizer = SSLTokenizer.from_pretrained("general", patch=32)
        >>> series, stream = np.sin(np.arange(1200) / 9), tokenizer.stream()
        >>> parts = [stream.push(series[:700]), stream.push(series[700:]), stream.finish()]
        >>> [len(part) for part in parts]  # a frame of 512 samples: its level and 16 patches
        [17, 17, 7]
        >>> np.array_equal(np.concatenate(parts), tokenizer.encode(series[None])[0])
        True
    """

    def __init__(self, codec: GeneralCodec, *, channels: int, patch: int, levels: int) -> None:
        self._codec, self._patch, self._levels = codec, patch, levels
        self._rest = torch.empty(channels, 0, dtype=torch.float64)

    @property
    def waiting(self) -> int:
        """Samples that no codes were given for yet."""
        return self._rest.shape[1]

    def push(self, chunk: Any) -> NDArray[np.int64]:
        """Take samples, and return the codes of the frames that are full now.

        Args:
            chunk: `(channels, samples)`, or `(samples,)` where there is one channel; any number of
                samples. NaN is a missing value.

        Returns:
            int64 `(tokens, levels)`, perhaps of no tokens.

        Raises:
            ValueError: If the chunk has other channels, or a value is infinite.
        """
        samples = torch.as_tensor(np.asarray(chunk)).float().double()
        samples = samples[None] if samples.ndim == 1 else samples
        channels = len(self._rest)
        if samples.ndim != 2 or len(samples) != channels or bool(samples.isinf().any()):
            raise ValueError(
                f"CodeStream.push: a chunk must be ({channels}, samples) and finite or NaN; "
                f"got shape {tuple(samples.shape)}"
            )
        self._rest = torch.cat([self._rest, samples], dim=1)
        size = self._patch * PATCHES
        full = self.waiting // size
        frames, self._rest = self._rest[:, : full * size], self._rest[:, full * size :].clone()
        return self._codes(frames, full)

    def finish(self) -> NDArray[np.int64]:
        """Return the codes of what is left, and begin anew."""
        rest, self._rest = self._rest, self._rest[:, :0]
        return self._codes(rest, int(rest.shape[1] > 0))

    def _codes(self, samples: torch.Tensor, frames: int) -> NDArray[np.int64]:
        if not frames:
            return np.empty((0, self._codec.levels), dtype=np.int64)
        pattern = "channels (frames samples) -> (frames channels) samples"
        rows = rearrange(samples, pattern, frames=frames)
        codes = encode_frames(self._codec, rows, ~rows.isnan(), patch=self._patch)
        codes[:, 1:, self._levels :] = -1
        result: NDArray[np.int64] = codes.flatten(0, 1).numpy()
        return result
