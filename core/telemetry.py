"""Runtimes that would tell their makers of every start: kept from it.

ONNX Runtime's own builds (1.32 does) upload events and write an identifier of the machine to the
cache folder; OpenVINO, and with it NNCF, tells of every import. What is read with inktex, and that
something is read, is nobody else's business.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def disable_telemetry() -> None:
    """Keep libraries that are not imported yet from telling anything.

    Who imported them before, or has set ORT_DISABLE_TELEMETRY=0, has decided otherwise, and is
    left alone. Processes that are started from here inherit the decision on ONNX Runtime.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # With no such module OpenVINO and NNCF go on without; there is no other switch that is not a
    # file in the user's home.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("openvino_telemetry", None)
