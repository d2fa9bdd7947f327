"""What of `make ecosystem` is in `make test`: an agent and a library, some seconds each."""

import sys

SMALL = ("opentelemetry", "flask-rmq") if sys.version_info >= (3, 10) else ()
"""The releases that are pinned, and pytest's, do not take CPython 3.9."""
