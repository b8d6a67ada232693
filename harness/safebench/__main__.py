"""Run safebench as ``python -m safebench`` or ``safebench``."""

import gc
import sys

# Python looks for garbage among all objects after so many searches among young ones. By
# default it does so eight times until torch, transformers and a small model are loaded,
# for a sixth of the processor time; the young are searched as often as ever.
SEARCHES_BETWEEN_FULL_ONES = 200


def main() -> None:
    """Run the command line; Ctrl-C ends it even while its modules are imported."""
    gc.set_threshold(*gc.get_threshold()[:2], SEARCHES_BETWEEN_FULL_ONES)
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT, as afterwards
    run()


if __name__ == "__main__":
    main()
