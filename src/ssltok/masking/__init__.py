"""Mask schedules (the share masked at each progress) and samplers of masks; True means masked."""

__all__: list[str] = []
