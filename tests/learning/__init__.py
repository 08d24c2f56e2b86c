"""Tests of lib.learning."""
