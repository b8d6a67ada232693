"""Run safebench as ``python -m safebench`` or ``safebench``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it even while its modules are imported."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as afterwards
    run()


if __name__ == "__main__":
    main()
