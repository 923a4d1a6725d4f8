"""A trained recognizer to an encoder graph and a step graph, with proof that they agree."""

from ..core.telemetry import disable_telemetry

disable_telemetry()  # before a library is imported that would tell
