"""Networks: torch modules, their weights, and how to load them. Know no image file."""

from lib.networks.architectures import ARCHITECTURES, Architecture, find_architecture
from lib.networks.architectures3d import (
    ARCHITECTURES3D,
    Architecture3d,
    check_architecture,
    find_architecture3d,
)
from lib.networks.checkpoint import LoadReport, load_checkpoint
from lib.networks.sam import AdapterSam, PromptTensors, build_sam, choose_best, upsample_logits
from lib.networks.sam3d import PromptTensors3d, Sam3d, build_sam3d, upsample_logits3d
from lib.networks.weights import build_model, build_model3d, installed_weights

__all__ = [
    "ARCHITECTURES",
    "ARCHITECTURES3D",
    "AdapterSam",
    "Architecture",
    "Architecture3d",
    "LoadReport",
    "PromptTensors",
    "PromptTensors3d",
    "Sam3d",
    "build_model",
    "build_model3d",
    "build_sam",
    "build_sam3d",
    "check_architecture",
    "choose_best",
    "find_architecture",
    "find_architecture3d",
    "installed_weights",
    "load_checkpoint",
    "upsample_logits",
    "upsample_logits3d",
]
