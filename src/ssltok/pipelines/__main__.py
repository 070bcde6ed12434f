"""`python -m ssltok.pipelines` is the command `ssltok`, for torchrun and the like."""

from ssltok.pipelines._cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
