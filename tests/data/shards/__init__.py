"""Tests of lib.data.shards."""
