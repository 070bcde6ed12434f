"""Pictures with few colours need few bytes."""

import pathlib

from PIL import Image

__all__ = ["shrink"]


def shrink(path: pathlib.Path) -> None:
    """Write a picture anew with 128 colours, and say how large it is."""
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(128)
    few.save(path, optimize=True)
    print(f"  {path.name}: {path.stat().st_size // 1024} KB")
