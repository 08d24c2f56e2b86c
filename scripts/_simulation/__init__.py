"""An annotator with ground truth at a real server: what `scripts/simulate_annotation.py` needs."""
