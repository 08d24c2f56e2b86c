"""Tests of lib.server."""
