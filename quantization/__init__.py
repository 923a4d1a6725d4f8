"""INT8: calibration and post-training quantisation of exported graphs."""

from ..core.telemetry import disable_telemetry

disable_telemetry()  # before a library is imported that would tell
