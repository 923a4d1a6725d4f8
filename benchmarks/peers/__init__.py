"""What one would use instead of inktex, on the same ink in the same run."""
