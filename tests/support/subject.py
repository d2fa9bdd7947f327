"""The library under test.

`CPIKA_TEST_SUBJECT=pika` runs the tests on pika itself: that proves a test's own machinery wherever pika can
do the thing, and shows which rules pika does not keep.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

SUBJECT = os.environ.get("CPIKA_TEST_SUBJECT", "cpika")

pika: Any = importlib.import_module(SUBJECT)
exceptions: Any = pika.exceptions

# Not an AMQPError: the connection workflow's own, and it comes out as it is.
StackTimeout: Any = importlib.import_module(
    f"{SUBJECT}.adapters.utils.connection_workflow"
).AMQPConnectorStackTimeout
