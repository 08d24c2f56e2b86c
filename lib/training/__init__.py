"""Training by simulated interaction: losses, metrics and the loop over clicks."""
