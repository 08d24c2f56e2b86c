"""Tests of lib.imaging."""
