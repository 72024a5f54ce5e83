"""`python -m sync` (coreutils has a `/usr/bin/sync`)."""

import sys

from sync.cli import main


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
