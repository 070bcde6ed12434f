"""`python -m ssltok`: where the command was in 0.1; it is `python -m ssltok` now."""

import warnings

from ssltok.cli import main

if __name__ == "__main__":
    warnings.warn("python -m ssltok: is python -m ssltok now", DeprecationWarning, stacklevel=1)
    main()
