"""Tests; ``tests/<layer>/test_<module>.py`` mirrors ``lib/<layer>/<module>.py``."""
