"""A small network behind a folder of images, as the scorer meets them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monailabel.datastore.local import LocalDatastore

from lib.imaging.volume import Volume
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import SliceEmbedder
from lib.inference.embedding_store import EmbeddingStore
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.worker import PriorityWorker
from lib.networks.backends import TorchEncoder
from lib.server.live_model import EncoderSide, LiveModel
from lib.server.models import NetworkChoice
from tests.support.small_sam import small_sam

SLICES = 7
"""Of each image."""


class CountingEncoder(TorchEncoder):
    """Counts what it encodes."""

    count = 0

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """As its base class."""
        self.count += len(images)
        return super().encode(images)


class CountingDecoder(PromptDecoder):
    """Counts the prompts it decodes."""

    count = 0

    def candidate_rows(self, embedding, prompts):  # type: ignore[no-untyped-def]
        """As its base class."""
        self.count += len(prompts)
        return super().candidate_rows(embedding, prompts)


class SmallNetwork:
    """A network that is loaded, and a task that shows images to it."""

    def __init__(self, folder: Path | None = None) -> None:
        self.worker = PriorityWorker()
        self.embeddings = EmbeddingStore(1 << 24, folder, 1 << 26 if folder else 0)
        self.choice = NetworkChoice("small", Path("small.safetensors"))
        self.loaded: LiveModel | None = None
        self.version = ""
        self.publish("net-1", "enc-1")

    @property
    def model(self) -> SmallNetwork:
        """The task of this network is itself."""
        return self

    def view(self, volume: Volume, k: int, intensity: str | None = None) -> SliceView:
        """A slice as the network sees it."""
        return SliceView(volume.slice(k))

    def publish(self, version: str, encoder_version: str, seed: int = 0) -> None:
        """Another version answers from now on."""
        model = small_sam(seed).eval()
        self.encoder = CountingEncoder(model)
        self.decoder = CountingDecoder(model, torch.device("cpu"))
        embedder = SliceEmbedder(model, self.encoder, self.embeddings, encoder_version)
        chains = ChainDecoder(self.decoder, ByteBoundedCache(1 << 20))
        segmenter = SliceSegmenter(embedder, self.decoder, chains, self.worker, version)
        self.loaded, self.version = (
            LiveModel(segmenter, EncoderSide(embedder, None, None), None),
            version,
        )


def write_images(folder: Path, count: int, slices: int = SLICES) -> Path:
    """Noise with a disc, ``case0.nii.gz`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        i, j = np.mgrid[:40, :32]
        disc = np.hypot(i - 12 - 2 * number, j - 16) < 8
        array = rng.normal(0, 10, (40, 32, slices)) + 100.0 * disc[:, :, None]
        nib.save(
            nib.Nifti1Image(array.astype(np.int16), np.eye(4)), folder / f"case{number}.nii.gz"
        )
    return folder


def open_folder(folder: Path) -> LocalDatastore:
    """The host's datastore of a folder."""
    return LocalDatastore(str(folder), extensions=["*.nii.gz"])


def save_label(
    datastore: LocalDatastore, image: str, slices: tuple[int, ...] = (), tag: str = "final"
) -> None:
    """Label a square on some slices."""
    labels = np.zeros((40, 32, SLICES), np.uint8)
    labels[5:15, 5:15, list(slices)] = 1
    path = Path(datastore._datastore_path) / "label.tmp.nii.gz"
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)
    datastore.save_label(image, str(path), tag, {"label_info": [{"name": "organ", "idx": 1}]})
    path.unlink(missing_ok=True)
