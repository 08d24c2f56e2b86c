"""Tests of lib.data.build."""
