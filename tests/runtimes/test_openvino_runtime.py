from __future__ import annotations

import sys

import pytest

from inktex.core.bundle import Bundle
from inktex.core.errors import RuntimeUnavailable
from inktex.core.manifest import Variant
from inktex.runtimes.openvino_runtime import openvino_model


def test_without_openvino_the_pip_command_is_named(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailable, match="pip install openvino"):
        openvino_model(tiny_bundle, Variant("openvino", "fp32", "encoder", "step"))
