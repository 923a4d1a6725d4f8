"""Accuracy, latency and memory, measured."""
