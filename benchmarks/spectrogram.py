"""`STFT` and `ISTFT` beside `torch.stft` and `torch.istft`, from short frames to long ones.

    python benchmarks/spectrogram.py [--batch 128 --channels 1 --length 512 --rounds 11]

Both sides end with the same real tensor, `(batch, 2*channels, freq, frames)`, and the same series;
the ratio is torch's time / ours in one process on one thread, interleaved, with quartiles.
"""

import argparse

import torch
from side_by_side import machine, side_by_side
from torch import Tensor

from ssltok.signal import ISTFT, STFT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = (options.batch, options.channels, options.length)
    series = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    length = options.length
    print(f"series {shape}, float32, hop = n_fft / 4\n")
    print("| n_fft | direction | torch ms | ours ms | ratio | quartiles |")
    print("| --- | --- | --- | --- | --- | --- |")
    for n_fft in (4, 8, 16, 32, 64, 128):
        stft, istft = STFT(n_fft=n_fft), ISTFT(n_fft=n_fft)
        window = stft.window
        spectrogram = stft(series)

        def forth(n_fft: int = n_fft, window: Tensor = window) -> Tensor:
            found = torch.stft(
                series.flatten(0, 1), n_fft, n_fft // 4,
                window=window, normalized=True, return_complex=True,
            )  # fmt: skip
            parts = torch.view_as_real(found).permute(0, 3, 1, 2)
            return parts.reshape(options.batch, -1, *found.shape[1:])

        def back(
            n_fft: int = n_fft, window: Tensor = window, spectrogram: Tensor = spectrogram
        ) -> Tensor:
            parts = spectrogram.reshape(-1, 2, *spectrogram.shape[2:])
            found = torch.istft(
                torch.complex(parts[:, 0], parts[:, 1]), n_fft, n_fft // 4,
                window=window, normalized=True, length=length,
            )  # fmt: skip
            return found.reshape(shape)

        def our_forth(stft: STFT = stft) -> Tensor:
            return stft(series)

        def our_back(istft: ISTFT = istft, spectrogram: Tensor = spectrogram) -> Tensor:
            return istft(spectrogram, length)

        for name, theirs, ours in [("STFT", forth, our_forth), ("ISTFT", back, our_back)]:
            torch.testing.assert_close(ours(), theirs(), atol=1e-4, rtol=1e-4)
            slow, fast = side_by_side({"torch": theirs, "ours": ours}, rounds=options.rounds)
            print(
                f"| {n_fft} | {name} | {slow.milliseconds:.2f} | {fast.milliseconds:.2f} | "
                f"{fast.speedup:.2f} | {fast.speedup_low:.2f}-{fast.speedup_high:.2f} |"
            )
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
