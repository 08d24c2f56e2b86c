"""Inference: from an image and prompts to a mask. Knows nothing of HTTP."""

from lib.inference.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
