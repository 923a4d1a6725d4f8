"""Data, recognizers, recipes and the trainer; needs torch."""
