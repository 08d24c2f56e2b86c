"""One network shared by all requests: an image is encoded once, whoever clicks on it.

Concurrency contract:

* Shared: the predictor (one network, one current image) and the cache of embeddings.
* ``_lock`` guards the predictor. It is held while a slice is encoded and while prompts are
  decoded, so requests to one network run one after the other; results do not depend on their
  order, because the embedding is set anew for each request under the same lock.
* The cache has a lock of its own, taken for single look-ups only and always inside ``_lock``.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.imaging.intensity import normalise_slice
from lib.inference.cache import ByteBoundedCache
from lib.inference.chain import predict_chain
from lib.inference.predictor import Embedding, Prediction, Predictor
from lib.prompts.prompt import Prompt


@dataclass(frozen=True)
class Timings:
    """Seconds spent in the parts of one request."""

    prepare: float
    encode: float
    decode: float


@dataclass(frozen=True)
class SegmentResult:
    """The answer to one request; ``cached`` tells that the image had been encoded before."""

    prediction: Prediction
    timings: Timings
    cached: bool


class SliceSegmenter:
    """Answers prompts on any 2D image, from any thread.

    Args:
        predictor: the network; belongs to this object from now on.
        embeddings: cache of encoded images, keyed by content; may be shared between segmenters.
        model_version: tells embeddings of different weights apart.
    """

    def __init__(
        self, predictor: Predictor, embeddings: ByteBoundedCache[Embedding], model_version: str
    ) -> None:
        self.predictor = predictor
        self.model_version = model_version
        self._embeddings = embeddings
        self._lock = threading.Lock()

    def segment(
        self,
        image: NDArray[np.generic],
        prompt: Prompt,
        *,
        intensity: str | None = None,
        modality: str | None = None,
        body_part: str | None = None,
        multimask: bool = True,
    ) -> SegmentResult:
        """Segment one object. Dear for an image never seen, cheap afterwards.

        Args:
            image: (H, W) or (H, W, 3), native intensities.
            prompt: points, box and mask in pixels of the image.
            intensity: how intensities become 8 bit; None takes the architecture's way.
            modality: DICOM Modality, None where unknown.
            body_part: DICOM BodyPartExamined, None where unknown.
            multimask: let the network propose three masks and take the one it rates best.

        Raises:
            PromptError: the prompt does not lie on the image.
            ImageError: an array that is no image.
        """
        prompt.validate_for(*image.shape[:2])
        started = time.perf_counter()
        wanted = self.predictor.model.config.intensity if intensity is None else intensity
        image8 = normalise_slice(image, wanted, modality, body_part)
        key = (self.model_version, image8.shape, hashlib.sha256(image8.data).digest())
        prepared = time.perf_counter()
        with self._lock:
            embedding = self._embeddings.get(key)
            cached = embedding is not None
            if embedding is None:
                embedding = self.predictor.encode(image8)
                self._embeddings.put(key, embedding, embedding.nbytes)
            encoded = time.perf_counter()
            self.predictor.set_embedding(embedding)
            prediction = predict_chain(self.predictor, prompt, multimask)
        decoded = time.perf_counter()
        timings = Timings(prepared - started, encoded - prepared, decoded - encoded)
        return SegmentResult(prediction, timings, cached)
