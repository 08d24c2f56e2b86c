"""Exported encoders kept on disk, by model version: exporting takes seconds, int8 a minute.

One folder for each, ``<cache>/encoders/<model version>-<float|int8>-openvino<release>/``, with
``model.xml`` and ``model.bin``. A folder appears whole or not at all, so several processes may
prepare the same one. fp32 and bf16 share a file. Everything here can be deleted at any time.
"""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tempfile
from pathlib import Path

from lib.networks.calibration import calibration_images
from lib.networks.encoder_network import Encodes
from lib.networks.openvino_encoder import export_encoder, quantise, save_exported
from lib.networks.sam3d import Sam3d

KEPT = 4
"""So many prepared encoders stay on disk; one of samed2d_b takes a gigabyte."""
FILE = "model.xml"

logger = logging.getLogger(__name__)


def prepared_path(cache: Path, version: str, precision: str) -> Path:
    """Where the exported encoder of a model version lies, or would lie."""
    kind = "int8" if precision == "int8" else "float"
    release = importlib.metadata.version("openvino")
    return cache / "encoders" / f"{version}-{kind}-openvino{release}" / FILE


def prepare(model: Encodes, version: str, precision: str, cache: Path) -> Path:
    """Export the encoder of a model, unless that was done before.

    Args:
        model: on the CPU.
        version: architecture and weights in one word.
        precision: "fp32", "bf16" or "int8", the last for networks of slices only.
        cache: folder of all caches.

    Returns:
        Path of the file for `lib.networks.openvino_encoder.OpenVinoEncoder`.
    """
    path = prepared_path(cache, version, precision)
    if path.is_file():
        path.parent.touch()
        return path
    path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    exported = export_encoder(model)
    if precision == "int8" and not isinstance(model, Sam3d):
        exported = quantise(exported, calibration_images(model))
    with tempfile.TemporaryDirectory(prefix=".part-", dir=path.parent.parent) as part:
        save_exported(exported, Path(part, "done", FILE))
        try:
            Path(part, "done").rename(path.parent)
        except OSError:
            # Another process was faster; its file is as good.
            if not path.is_file():
                raise
    _forget_old(path.parent.parent)
    return path


def discard(path: Path) -> None:
    """Remove a prepared encoder that cannot be used."""
    shutil.rmtree(path.parent, ignore_errors=True)


def _forget_old(folder: Path) -> None:
    """Keep the newest `KEPT` prepared encoders."""
    found = [entry for entry in folder.iterdir() if not entry.name.startswith(".part-")]
    found.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in found[KEPT:]:
        logger.info("removing the prepared encoder %s", entry.name)
        shutil.rmtree(entry, ignore_errors=True)
