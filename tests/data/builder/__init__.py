"""Tests of lib.data.builder."""
