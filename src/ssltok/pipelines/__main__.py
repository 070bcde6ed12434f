"""`python -m ssltok.pipelines`: the command of 0.1; it is `python -m ssltok` now."""

import warnings

from ssltok.cli import main

if __name__ == "__main__":
    warnings.warn(
        "python -m ssltok.pipelines: is python -m ssltok now; this address goes in 0.3",
        DeprecationWarning,
        stacklevel=1,
    )
    main()
