"""Series to spectrograms and back: STFT that round-trips every length, frequency bands, scalers."""

__all__: list[str] = []
