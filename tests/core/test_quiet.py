from __future__ import annotations

import logging
import warnings

import pytest

from inktex.core.quiet import quiet


def _fail_with_remarks() -> None:
    logging.getLogger("a library").error("its insides")
    warnings.warn("deprecated", stacklevel=1)
    raise RuntimeError("what goes wrong")


def test_what_a_library_remarks_is_not_told(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    before = logging.root.manager.disable
    with pytest.raises(RuntimeError, match="what goes wrong"), quiet():
        _fail_with_remarks()
    assert not caplog.records
    assert not recwarn.list
    assert logging.root.manager.disable == before
    logging.getLogger("a library").error("afterwards")
    assert [each.message for each in caplog.records] == ["afterwards"]
