"""OpenVINO, apart from what tests/networks/test_backends.py asks of every backend."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.networks import build_sam
from lib.networks.openvino_encoder import (
    OpenVinoEncoder,
    export_encoder,
    load_exported,
    save_exported,
)
from tests.networks.test_fast_encoder import with_random_positions
from tests.support import golden

NO_REPORTS = """
import sys
sys.path.insert(0, sys.argv[1])
from lib.networks.openvino_encoder import has_bf16
has_bf16()
import openvino.tools.ovc.telemetry_utils, nncf.telemetry.wrapper
assert sys.modules["openvino_telemetry"] is None
assert type(nncf.telemetry.wrapper.NNCFTelemetryStub).__name__
from nncf.telemetry import telemetry
assert "openvino_telemetry" not in type(telemetry).__module__
print("silent")
"""


def test_nothing_is_reported_to_anybody() -> None:
    """Their telemetry package is never imported, so nothing can be sent."""
    root = str(Path(__file__).resolve().parents[2])
    made = subprocess.run(
        [sys.executable, "-c", NO_REPORTS, root], capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == "silent"


@pytest.mark.parametrize("window_size", [5, 8, 14])
def test_every_way_of_cutting_the_grid_is_exact(window_size: int) -> None:
    """OpenVINO computed windows wrong that were cut out in another order of operations."""
    torch.manual_seed(0)
    shape = replace(golden.TINY, window_size=window_size, depth=2, global_attention=(1,))
    model = with_random_positions(build_sam(shape))
    images = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        expected = model.encode(images)
    encoder = OpenVinoEncoder(export_encoder(model), "fp32")
    for _ in range(3):
        assert golden.relative_error(encoder.encode(images), expected) <= 1e-4


def test_a_damaged_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    save_exported(export_encoder(golden.tiny_model()), path)
    assert load_exported(path).inputs[0].get_shape() == [1, 3, 256, 256]
    path.write_text(path.read_text()[:2000])
    with pytest.raises(RuntimeError):
        OpenVinoEncoder(path, "fp32")
