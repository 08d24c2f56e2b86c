"""Tests of lib.inference."""
