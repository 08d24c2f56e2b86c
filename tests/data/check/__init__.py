"""Tests of lib.data.check."""
