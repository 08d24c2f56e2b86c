"""Tests of lib.training."""
