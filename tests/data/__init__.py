"""Tests of lib.data."""
