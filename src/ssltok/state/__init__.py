"""What lives between steps: teacher, queue, centre, prototypes. forward reads, update writes."""

__all__: list[str] = []
