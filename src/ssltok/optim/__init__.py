"""LARS, and schedules of any scalar."""

__all__: list[str] = []
