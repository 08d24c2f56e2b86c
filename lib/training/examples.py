"""Training examples: labelled images as the network is to see them, fresh or encoded before.

An example is chosen and changed by a generator of its own, so that it is the same whoever makes it
and whenever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.data.augment import Augmentation, augment
from lib.data.phantoms import make_phantom
from lib.data.pool import LabelledImage, usable_masks
from lib.errors import ImageError
from lib.imaging.geometry import PadFrame
from lib.inference.embedder import prepare_image
from lib.inference.view import SliceView
from lib.networks.architectures import SAM_PIXEL_MEAN, SAM_PIXEL_STD, Architecture
from lib.networks.sam import AdapterSam
from lib.training.recipe import Recipe

ATTEMPTS = 4
"""Augmentations that are tried until one keeps an object; then the image is taken as it is."""

GENTLE = Augmentation(
    crop_share=0.4,
    min_crop=0.5,
    window_jitter=0.05,
    gamma=1.25,
    noise=5.0,
    invert_share=0.0,
)
"""For few images of one kind: variants that this kind of image may really have."""


@dataclass(frozen=True)
class Example:
    """One image with the objects to learn from.

    Attributes:
        image: (3, S, S) normalised input of the network, or its embedding (C, S/16, S/16).
        masks: (N, S, S) bool, N >= 1.
    """

    image: Tensor
    masks: NDArray[np.bool_]


class ExampleSource(Protocol):
    """Makes examples."""

    encoded: bool
    """Whether examples hold embeddings."""

    def draw(self, rng: np.random.Generator) -> Example:
        """One example, decided by ``rng`` alone."""


class FreshExamples:
    """Draws an image and a random variant of it for each example; for training adapters.

    Patients are drawn before images, so that a long series does not rule.

    Args:
        images: labelled images with at least one usable object each.
        model: decides how images are shown.
        recipe: augmentation, rehearsal, framing, rows for each image.

    Raises:
        ImageError: there is no image.
    """

    encoded = False

    def __init__(self, images: Sequence[LabelledImage], model: AdapterSam, recipe: Recipe) -> None:
        self._by_patient = by_patient(images)
        self._model, self._recipe = model, recipe

    def draw(self, rng: np.random.Generator) -> Example:
        """See `ExampleSource`."""
        recipe = self._recipe
        if rng.random() < recipe.rehearsal:
            return phantom_example(self._model, recipe, rng)
        choices = self._by_patient[rng.integers(len(self._by_patient))]
        image = choices[rng.integers(len(choices))]
        return variant(image, self._model, recipe, rng, changed=recipe.augment)


class EncodedExamples:
    """A stock of examples that were encoded once; for training the decoder alone.

    Args:
        images, model, recipe: as for `FreshExamples`.
        encode: normalised images (1, 3, S, S) -> embeddings (1, C, h, w), without gradients.
        variants: of each image, the first one unchanged.
        phantoms: in the stock, for rehearsal.
        progress: called with examples encoded and in all.

    Raises:
        ImageError: there is no image.
    """

    encoded = True

    def __init__(
        self,
        images: Sequence[LabelledImage],
        model: AdapterSam,
        recipe: Recipe,
        encode: Callable[[Tensor], Tensor],
        variants: int,
        phantoms: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        groups = by_patient(images)
        self._recipe = recipe
        phantoms = phantoms if recipe.rehearsal > 0 else 0
        variants = variants if recipe.augment else 1
        total = variants * sum(map(len, groups)) + phantoms
        done = 0

        def encoded(example: Example) -> Example:
            nonlocal done
            embedding = encode(example.image[None].to(model.pixel_mean.device))[0].cpu()
            done += 1
            progress(done, total)
            return Example(embedding, example.masks)

        every = recipe_with_all_objects(recipe)
        self._real = [
            [
                [
                    encoded(variant(image, model, every, stock_rng(image.name, n), changed=n > 0))
                    for n in range(variants)
                ]
                for image in group
            ]
            for group in groups
        ]
        self._phantoms = [
            encoded(phantom_example(model, every, stock_rng("phantom", n))) for n in range(phantoms)
        ]

    def draw(self, rng: np.random.Generator) -> Example:
        """See `ExampleSource`."""
        if self._phantoms and rng.random() < self._recipe.rehearsal:
            example = self._phantoms[rng.integers(len(self._phantoms))]
        else:
            group = self._real[rng.integers(len(self._real))]
            stock = group[rng.integers(len(group))]
            example = stock[rng.integers(len(stock))]
        return Example(example.image, _some(example.masks, self._recipe, rng))


def by_patient(images: Sequence[LabelledImage]) -> list[list[LabelledImage]]:
    """Images in groups of one patient, in the order of their names.

    Raises:
        ImageError: there is no image.
    """
    if not images:
        raise ImageError(
            got="no labelled slice to train on",
            allowed="at least one slice with an object",
            todo="save a label first",
        )
    patients = sorted({image.patient for image in images})
    return [[image for image in images if image.patient == name] for name in patients]


def learnable(
    images: Sequence[LabelledImage], model: AdapterSam, recipe: Recipe
) -> tuple[LabelledImage, ...]:
    """Images that keep a usable object at the network's resolution; of others `variant` fails."""
    size = model.config.image_size
    framed = _padded_masks if recipe.published_framing else network_masks
    return tuple(image for image in images if len(usable_masks(framed(image.masks, size))))


def variant(
    image: LabelledImage,
    model: AdapterSam,
    recipe: Recipe,
    rng: np.random.Generator,
    changed: bool,
) -> Example:
    """An image as the network sees it, with usable objects; randomly changed or as it is.

    Raises:
        ImageError: no object is left at the network's resolution.
    """
    config = model.config
    for _ in range(ATTEMPTS if changed else 0):
        pixels, masks = augment(
            image.image,
            image.masks,
            config.image_size,
            rng,
            GENTLE,
            modality=image.modality,
            body_part=image.body_part,
        )
        masks = usable_masks(masks)
        if len(masks):
            shown = prepare_image(model, pixels)[0].cpu()
            return Example(shown, _some(masks, recipe, rng))
    framed, masks = (_published if recipe.published_framing else _served)(image, model)
    masks = usable_masks(masks)
    if not len(masks):
        raise ImageError(
            got=f"{image.name}, whose objects are too small or too large at "
            f"{config.image_size} pixels",
            allowed="objects of 0.2 to 70 % of the image",
            todo="leave it out",
        )
    return Example(framed, _some(masks, recipe, rng))


def phantom_example(model: AdapterSam, recipe: Recipe, rng: np.random.Generator) -> Example:
    """A new phantom, for rehearsal."""
    while True:
        phantom = make_phantom(rng, model.config.image_size)
        masks = usable_masks(phantom.masks)
        if len(masks):
            image = phantom.image
            colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
            return Example(prepare_image(model, colour)[0].cpu(), _some(masks, recipe, rng))


def stock_rng(name: str, number: int) -> np.random.Generator:
    """Decides about one example of a stock: the same in every run, so its embedding can be kept."""
    digest = hashlib.sha256(f"{name}:{number}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def network_masks(masks: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Masks (N, H, W) on the network's square frame (N, size, size), stretched like the image."""
    rows, columns = (np.arange(size) * n // size for n in masks.shape[1:])
    framed: NDArray[np.bool_] = masks[:, rows][:, :, columns]
    return framed


def recipe_with_all_objects(recipe: Recipe) -> Recipe:
    """The same recipe, keeping all objects of an image: for a stock from which some are drawn."""
    return replace(recipe, objects=1 << 30, published_prompts=False)


def _some(masks: NDArray[np.bool_], recipe: Recipe, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The rows of one image: some of its objects, or as published a fixed number of draws."""
    chosen = rng.permutation(len(masks))[: recipe.objects]
    if recipe.published_prompts:
        chosen = rng.integers(len(masks), size=recipe.objects)
    kept: NDArray[np.bool_] = masks[chosen]
    return kept


def _served(image: LabelledImage, model: AdapterSam) -> tuple[Tensor, NDArray[np.bool_]]:
    """As the server shows it to the network; see `lib.inference.view`."""
    config = model.config
    view = SliceView(image.image, config.intensity, image.modality, image.body_part)
    shown = prepare_image(model, view.image8())[0].cpu()
    return shown, network_masks(image.masks, config.image_size)


def _published(image: LabelledImage, model: AdapterSam) -> tuple[Tensor, NDArray[np.bool_]]:
    """As SAM-Med2D's training does: BGR, normalised before it is padded or resized.

    A grey image is the same in either order. Grey values become 8 bit as on our server; the
    original has 8 bit files.
    """
    config: Architecture = model.config
    view = SliceView(image.image, config.intensity, image.modality, image.body_part)
    bgr = view.image8()[..., ::-1]
    normalised = (bgr - np.array(SAM_PIXEL_MEAN)) / np.array(SAM_PIXEL_STD)
    height, width = image.image.shape[:2]
    frame = PadFrame(height, width, config.image_size)
    framed = np.asarray(frame.fit(normalised), dtype=np.float32).transpose(2, 0, 1)
    masks = _padded_masks(image.masks, config.image_size)
    return torch.from_numpy(np.ascontiguousarray(framed)), masks


def _padded_masks(masks: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Masks (N, H, W) as `_published` shows them."""
    height, width = masks.shape[1:]
    frame = PadFrame(height, width, size)
    return np.stack([np.asarray(frame.fit(mask.astype(np.uint8))) > 0 for mask in masks])
