"""The image encoder through OpenVINO: exported once, quantised where asked, run on a CPU.

OpenVINO's Python packages report their use to a service on the internet, unless a package of
theirs is missing. It is made to look missing here before anything of theirs is imported: nothing
about a hospital's server leaves it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lib.networks.encoder_network import Encodes, encoder_network

if TYPE_CHECKING:
    import openvino as ov

PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}
"""What is not 8 bit in an int8 network runs in bfloat16, where the processor has it."""


def _openvino() -> Any:
    """The package, imported where it is first needed: it takes a second."""
    # None makes an import fail as if the package were not installed.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def _core() -> Any:
    """One for the process, never given back: what it compiled must not outlive it."""
    return _openvino().Core()


class OpenVinoEncoder:
    """A compiled encoder.

    Args:
        exported: from `export_encoder`, or the path of a file that `save_exported` wrote.
        precision: "fp32", "bf16" or "int8" (of a quantised one).
    """

    def __init__(self, exported: ov.Model | Path, precision: str) -> None:
        source = str(exported) if isinstance(exported, Path) else exported
        hint = PRECISION_HINTS[precision] if has_bf16() else "f32"
        self._compiled = _core().compile_model(
            source, "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        )
        self._request = self._compiled.create_infer_request()
        self.backend_name = f"openvino {precision}"

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As `lib.networks.backends.Encoder`."""
        rows = []
        for image in images.numpy():
            self._request.infer([image[None]])
            # A copy: the next image is written to the same memory.
            rows.append(torch.from_numpy(self._request.get_output_tensor().data.copy()))
        return torch.cat(rows)


def has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32 (AVX512-BF16, AMX)."""
    capabilities = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def export_encoder(model: Encodes) -> ov.Model:
    """The encoder of a model on the CPU as an OpenVINO model of one image, or one volume."""
    network, example = encoder_network(model), model.blank()
    # requires_grad would be recorded; the parameters are the model's own and keep theirs.
    with torch.no_grad():
        program = torch.export.export(network, (example,))
    exported = _openvino().convert_model(program)
    # A shape that is known is compiled to faster code.
    exported.reshape(list(example.shape))
    return exported


def save_exported(exported: ov.Model, path: Path) -> None:
    """Write a model as ``path`` (.xml) and a .bin of the same name, in full precision."""
    _openvino().save_model(exported, str(path), compress_to_fp16=False)


def load_exported(path: Path) -> ov.Model:
    """Read what `save_exported` wrote.

    Raises:
        RuntimeError: a damaged file.
    """
    return _core().read_model(str(path))


def quantise(exported: ov.Model, images: Sequence[NDArray[np.float32]]) -> ov.Model:
    """An 8 bit version of an exported encoder, its ranges measured on images.

    Static post-training quantisation by NNCF: weights per channel, activations per tensor, the
    scales between them balanced as for transformers (SmoothQuant, Xiao et al. 2023).

    Args:
        exported: from `export_encoder`; not changed.
        images: normalised inputs (1, 3, S, S).
    """
    _openvino()
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    quantised: ov.Model = nncf.quantize(
        exported,
        nncf.Dataset(list(images)),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
    )
    return quantised
