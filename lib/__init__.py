"""samed2d: promptable segmentation of medical images, served through MONAI Label."""

__version__ = "0.1.0"
