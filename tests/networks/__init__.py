"""Tests of lib.networks."""
