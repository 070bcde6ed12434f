"""Random views of series: batched, multichannel, on the device, seeded by a generator."""

__all__: list[str] = []
