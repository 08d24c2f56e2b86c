"""Tests of lib.prompts."""
