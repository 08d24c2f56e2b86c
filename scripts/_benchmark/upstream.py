"""The network of the original SAM-Med2D, out of a checkout that the user has.

The original is a fork of segment-anything under the same package name, and this project imports
the unchanged one. So only the folder ``segment_anything/modeling`` of the checkout is loaded,
under a name of its own: its files import nothing but each other (relatively) and torch, and
nothing that is imported elsewhere changes. The rest of the fork, which needs more packages, is
never executed.

Loading runs the checkout's code: name a checkout that you trust.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from lib.networks import AdapterSam, PromptTensors
from scripts._benchmark.errors import BenchmarkError

PACKAGE = "samed2d_benchmark_upstream"
"""Name under which the checkout's modules are known to Python."""
_MODELING = Path("segment_anything", "modeling")


class OriginalEncoder:
    """The original's arithmetic with the weights of one of our networks.

    Args:
        checkout: folder with the original repository.
        model: whose weights are copied, by the names of the published state dict.

    Raises:
        BenchmarkError: no such checkout, or an encoder that these weights do not fit.
    """

    backend_name = "original torch fp32"

    def __init__(self, checkout: Path, model: AdapterSam) -> None:
        modeling = load_modeling(checkout)
        self._encoder = fitted(checkout, partial(_encoder, modeling, model), model.image_encoder)
        self._encoder = self._encoder.to(model.pixel_mean.device).eval()

    @torch.inference_mode()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) as (B, C, S/16, S/16)."""
        embeddings: torch.Tensor = self._encoder(images)
        return embeddings


class OriginalNetwork:
    """The whole original, as `lib.training.parallel.TrainedNetwork`.

    Args:
        checkout: folder with the original repository.
        model: on the CPU; its three parts are replaced by the original's, with its weights.

    Raises:
        BenchmarkError: no such checkout, or a network that these weights do not fit.
    """

    def __init__(self, checkout: Path, model: AdapterSam) -> None:
        modeling = load_modeling(checkout)
        for name, build in (
            ("image_encoder", _encoder),
            ("prompt_encoder", _prompt_encoder),
            ("mask_decoder", _mask_decoder),
        ):
            ours = getattr(model, name)
            setattr(model, name, fitted(checkout, partial(build, modeling, model), ours))
        self.model = model

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Embed normalised images (B, 3, S, S) as (B, C, S/16, S/16)."""
        embeddings: torch.Tensor = self.model.image_encoder(images)
        return embeddings

    def decode(
        self, embeddings: torch.Tensor, prompts: PromptTensors, multimask: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (R, M, 4h, 4w) and predicted IoU (R, M) for embeddings (R, C, h, w)."""
        prompt_encoder = self.model.prompt_encoder
        # In corrections, which have a mask, the original runs its prompt encoder without gradients.
        with torch.set_grad_enabled(prompts.masks is None):
            sparse, dense = prompt_encoder(
                points=None if prompts.points is None else (prompts.points, prompts.labels),
                boxes=prompts.boxes,
                masks=prompts.masks,
            )
        logits, iou = self.model.mask_decoder(
            image_embeddings=embeddings,
            image_pe=prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        return logits, iou

    def apart(self) -> AbstractContextManager[None]:
        """One process: nothing to keep apart."""
        return contextlib.nullcontext()


def load_modeling(
    checkout: Path, file: str = "image_encoder.py", repository: str = "OpenGVLab/SAM-Med2D"
) -> ModuleType:
    """Import ``segment_anything/modeling`` of a checkout under the name `PACKAGE`.

    Args:
        checkout: folder of the repository.
        file: that tells it from others.
        repository: which it should be, for the error.

    Raises:
        BenchmarkError: not a checkout of the original, or its code does not run here.
    """
    folder = checkout / _MODELING
    start = folder / "__init__.py"
    if not start.is_file() or not (folder / file).is_file():
        raise BenchmarkError(
            f"{checkout} is no checkout of the original {repository.split('/')[1]}: it has no "
            f"{_MODELING / file}; clone {repository} and name its folder"
        )
    _forget()
    spec = importlib.util.spec_from_file_location(
        PACKAGE, start, submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module  # its files look their package up to import each other
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        _forget()
        raise BenchmarkError(f"the code in {folder} does not run here: {error!r}") from error
    return module


def _forget() -> None:
    """Remove what an earlier checkout left, so that two of them do not mix."""
    for name in [n for n in sys.modules if n == PACKAGE or n.startswith(PACKAGE + ".")]:
        del sys.modules[name]


def fitted(checkout: Path, build: Callable[[], nn.Module], ours: nn.Module) -> nn.Module:
    """A part of the original with the weights of one of ours.

    Raises:
        BenchmarkError: it is another one.
    """
    try:
        part = build()
        part.load_state_dict(ours.state_dict())
    except (AttributeError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise BenchmarkError(
            f"the network in {checkout} is not that of SAM-Med2D or SAM-Med3D: {reason}"
        ) from error
    return part


def _encoder(modeling: ModuleType, model: AdapterSam) -> nn.Module:
    """The original's image encoder in the shapes of a network (its build_sam.py)."""
    config = model.config
    encoder = modeling.ImageEncoderViT(
        depth=config.depth,
        embed_dim=config.embed_dim,
        img_size=config.image_size,
        mlp_ratio=4,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=config.num_heads,
        patch_size=config.patch_size,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=list(config.global_attention),
        window_size=config.window_size,
        out_chans=config.prompt_dim,
        adapter_train=True,
    )
    if not isinstance(encoder, nn.Module):
        raise TypeError("ImageEncoderViT is no torch module")
    return encoder


def _prompt_encoder(modeling: ModuleType, model: AdapterSam) -> nn.Module:
    """The original's prompt encoder, likewise."""
    config = model.config
    encoder: nn.Module = modeling.PromptEncoder(
        embed_dim=config.prompt_dim,
        image_embedding_size=(config.grid_size, config.grid_size),
        input_image_size=(config.image_size, config.image_size),
        mask_in_chans=config.mask_channels,
    )
    return encoder


def _mask_decoder(modeling: ModuleType, model: AdapterSam) -> nn.Module:
    """The original's mask decoder, likewise."""
    config = model.config
    decoder: nn.Module = modeling.MaskDecoder(
        num_multimask_outputs=config.multimask_outputs,
        transformer=modeling.TwoWayTransformer(
            depth=config.decoder_depth,
            embedding_dim=config.prompt_dim,
            mlp_dim=config.decoder_mlp_dim,
            num_heads=config.decoder_heads,
        ),
        transformer_dim=config.prompt_dim,
        iou_head_depth=config.iou_head_depth,
        iou_head_hidden_dim=config.iou_hidden_dim,
    )
    return decoder
