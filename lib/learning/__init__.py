"""What to label next: scores of slices, strategies over them, and who has which case. No server."""
