"""Accuracy, speed and memory, measured."""

from ..core.telemetry import disable_telemetry

disable_telemetry()  # before a library is imported that would tell
