"""Networks: torch modules, their weights, and how to load them. Know no image file."""

from lib.networks.architectures import ARCHITECTURES, Architecture, find_architecture
from lib.networks.checkpoint import LoadReport, load_checkpoint
from lib.networks.sam import AdapterSam, PromptTensors, build_sam, choose_best, upsample_logits
from lib.networks.weights import build_model, installed_weights

__all__ = [
    "ARCHITECTURES",
    "AdapterSam",
    "Architecture",
    "LoadReport",
    "PromptTensors",
    "build_model",
    "build_sam",
    "choose_best",
    "find_architecture",
    "installed_weights",
    "load_checkpoint",
    "upsample_logits",
]
