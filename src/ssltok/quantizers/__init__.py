"""Every way to turn vectors into codes, and codes into vectors."""

__all__: list[str] = []
