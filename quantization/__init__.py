"""INT8: calibration and post-training quantisation of exported graphs."""
