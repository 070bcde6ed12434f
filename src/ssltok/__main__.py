"""`python -m ssltok` is the command `ssltok`, for torchrun and the like."""

from ssltok.cli import main

if __name__ == "__main__":
    main()
