"""What an optional package is part of, and one sentence where it is missing."""

import importlib
from typing import Any

__all__ = ["EXTRA", "NAMES", "need"]

EXTRA = {
    **dict.fromkeys(
        ("accelerate", "matplotlib", "safetensors", "sklearn", "tqdm", "tyro"), "pipelines"
    ),
    **dict.fromkeys(("narwhals", "pandas", "sktime"), "data"),
    **dict.fromkeys(("h5py", "openpyxl", "pyarrow"), "files"),
    "huggingface_hub": "hub",
    "tensorboard": "track",
    "umap": "maps",
}
"""The extra that brings each optional package, by the name it is imported by."""
NAMES = {"huggingface_hub": "huggingface-hub", "sklearn": "scikit-learn", "umap": "umap-learn"}


def need(who: str, module: str) -> Any:
    """Import a module of an optional package, or say which extra brings it.

    Args:
        who: The function that asks.
        module: The module, such as `sklearn.manifold`.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed; the text is one line with the `pip install` that helps.

    Example:
        >>> from ssltok._shared.extras import need
        >>> need("draw_maps", "matplotlib.figure").__name__
        'matplotlib.figure'
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{who}: needs {NAMES.get(package, package)}; install it with: "
            f"pip install 'ssltok[{EXTRA[package]}]'",
            name=package,
        ) from error
