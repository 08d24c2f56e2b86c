"""Prompts: what an annotator shows of an object, checked, and how she is simulated."""

from lib.prompts.prompt import Prompt

__all__ = ["Prompt"]
