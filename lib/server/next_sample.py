"""What to label next, for the host's ``POST /activelearning/{strategy}``.

Scores come from `lib.server.scorer`, the order from `lib.learning.strategies`, and who has which
case from `lib.learning.leases`. Here they meet; nothing is read, downloaded or computed by a
network while somebody waits.

OHIF always asks for ``random``, which therefore means what option ``strategy`` says.

Concurrency contract: ``_lock`` guards the generator, `Coverage` and the last tables, and is held
while cases are ranked, some milliseconds. The datastore is asked without it, and `Leases` has a
lock of its own that is never taken together with it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.imaging.volume import ReadLimits
from lib.learning.coreset import Coverage, nearest, stacked
from lib.learning.leases import Leases
from lib.learning.score_store import ScoreStore, scores_folder
from lib.learning.slice_score import ScoreTable
from lib.learning.strategies import STRATEGIES, Choice, Pool, rank
from lib.options import AppOptions, default_cache_dir
from lib.server.models import NetworkChoice
from lib.server.scorer import ScorePlan, Scorer, Viewer

HOSTS_NAME = "random"
"""The strategy that clients ask for which know no other."""
SHOWN = 10
"""So many images that cannot be scored are named in ``/info``."""


class NamedNetwork(Protocol):
    """What this module needs of `lib.server.served_model.ServedModel`, beside being loaded."""

    @property
    def version(self) -> str:
        """What answers, in one word."""

    @property
    def choice(self) -> NetworkChoice:
        """Architecture and weights."""


@dataclass(frozen=True)
class Sample:
    """The answer to "what next".

    Attributes:
        image: id in the datastore; None where others have all that are left.
        k: slice to begin with; None where nothing is known of the case.
        score: see `lib.learning.strategies.Choice`.
        strategy: that decided; not "random" where that means another one.
        reason: one phrase for people.
        model_version: that the score comes from, or that answers now.
    """

    image: str | None
    k: int | None
    score: float | None
    strategy: str
    reason: str
    model_version: str


class NextSamples:
    """Chooses cases of one datastore; made once for an app.

    Args:
        options: strategy, leases and scoring.
        viewer: the task whose clicks the scores are about.
        network: behind it.
        datastore: of the images; asked for with each use, as the app makes it before or after.
        name: of the datastore, a folder or an address: its scores are kept under it.
        rng: of chance.
    """

    def __init__(
        self,
        options: AppOptions,
        viewer: Viewer,
        network: NamedNetwork,
        datastore: Callable[[], Datastore],
        name: str,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._options, self._network = options, network
        self._rng = np.random.default_rng() if rng is None else rng
        self._lock = threading.Lock()
        self._coverage = Coverage()
        self._whole = self._comparable = ScoreTable()
        self.leases = Leases(60.0 * options.lease_minutes)
        cache = options.cache_dir or default_cache_dir()
        self.store = ScoreStore(scores_folder(cache, network.choice.architecture, name))
        self.scorer: Scorer | None = None
        # Of random weights, other ones after each start, nothing can be said.
        if options.score_budget and network.choice.weights is not None:
            limits = ReadLimits(max_voxels=options.max_voxels)
            plan = ScorePlan(options.score_budget, options.scored_slices, limits)
            self.scorer = Scorer(viewer, datastore, self.store, plan)

    def start(self) -> None:
        """Begin to score images; in the server only."""
        if self.scorer is not None:
            self.scorer.start()

    def strategies(self) -> dict[str, Strategy]:
        """What the host lists and calls: every strategy by its name, "random" among them."""
        return {name: NextSampleStrategy(name, self) for name in (HOSTS_NAME, *STRATEGIES)}

    def meant(self, name: str) -> str:
        """The strategy that decides where a client asks for ``name``."""
        return self._options.strategy if name == HOSTS_NAME else name

    def saved(self, image: str) -> None:
        """An image was labelled."""
        self.leases.release(image)
        if self.scorer is not None:
            self.scorer.label_changed(image)

    def choose(self, name: str, client: str | None, datastore: Datastore) -> Sample | None:
        """The case that a client is to label next, now leased to it; None where all are labelled.

        Args:
            name: of the strategy, a key of `strategies`.
            client: who asks; None for somebody without a name.
            datastore: of the images.

        Raises:
            UnavailableError: the PACS does not answer.
        """
        strategy = self.meant(name)
        labelled = frozenset(datastore.get_labeled_images())
        images = [image for image in datastore.list_images() if image not in labelled]
        if not images:
            return None
        self.leases.give_back(client, frozenset(images))
        with self._lock:
            ranked = self._rank(strategy, images, labelled, self.leases.taken())
        handed = self.leases.take([choice.image for choice in ranked], client)
        if handed.image is None:
            return self._nothing(len(images), strategy, handed.free_in)
        choice = next(choice for choice in ranked if choice.image == handed.image)
        reason = "; ".join(filter(None, (self._reason(choice, strategy, len(images)), handed.note)))
        version = self._version_of(choice)
        return Sample(choice.image, choice.k, choice.score, strategy, reason, version)

    def status(self) -> dict[str, Any]:
        """How far the scores are, for ``/info``."""
        if self.scorer is None:
            return {"doing": self._why_not()}
        status = self.scorer.status
        return {
            "doing": status.doing,
            "images_scored": status.scored,
            "images_left": status.left,
            "seconds_per_slice": round(status.seconds_per_slice, 4),
            "images_failed": len(status.failed),
            "failed": dict(status.failed[:SHOWN]),
        }

    def _rank(
        self,
        strategy: str,
        images: Sequence[str],
        labelled: Collection[str],
        taken: Collection[str],
    ) -> tuple[Choice, ...]:
        whole = self.store.table()
        if whole is not self._whole:
            self._whole, self._comparable = whole, whole.of_one_encoder()
        wanted, known = frozenset(images), frozenset(labelled)
        rows = self._comparable.rows
        pool = ScoreTable(tuple(r for r in rows if r.image in wanted and not r.labelled))
        reference = ScoreTable(tuple(r for r in rows if r.image in known))
        near = self._coverage.distances(pool, reference)
        held = [row for row in pool.rows if row.image in taken]
        if held:
            near = np.minimum(near, nearest(pool.features, stacked(held)))
        return rank(strategy, Pool(images, pool, near), self._rng)

    def _version_of(self, choice: Choice) -> str:
        rows = self.store.get(choice.image)
        return next((r.model_version for r in rows if r.k == choice.k), self._network.version)

    def _reason(self, choice: Choice, strategy: str, total: int) -> str:
        if choice.k is not None or strategy in ("sequential", "random"):
            return choice.reason
        if self.scorer is None:
            return f"drawn at random: {self._why_not()}"
        scored = min(self.scorer.status.scored, total)
        return (
            f"drawn at random: {choice.reason} ({scored} of {total} images have scores; "
            f"{self.scorer.status.doing})"
        )

    def _why_not(self) -> str:
        if self._network.choice.weights is None:
            return "images are not scored, as the network has no trained weights"
        return "images are not scored (option score_budget is 0)"

    def _nothing(self, left: int, strategy: str, free_in: float) -> Sample:
        at = time.strftime("%H:%M", time.localtime(time.time() + free_in))
        reason = (
            f"other annotators have the {left} cases that are left; ask again at {at}, or in "
            f"{math.ceil(free_in / 60)} minutes (option lease_minutes)"
        )
        return Sample(None, None, None, strategy, reason, self._network.version)


class NextSampleStrategy(Strategy):  # type: ignore[misc]  # the host has no types
    """One strategy as the host sees it.

    Args:
        name: that clients ask for.
        samples: chooses.
    """

    def __init__(self, name: str, samples: NextSamples) -> None:
        self._name, self._samples = name, samples
        meant = samples.meant(name)
        text = STRATEGIES[meant].description
        super().__init__(text if meant == name else f"what this server is set to: {meant}, {text}")

    def info(self) -> dict[str, Any]:
        """What ``/info`` says; no key ``config``, which Slicer would send back as parameters."""
        return {**super().info(), "scoring": self._samples.status()}

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """What the host's endpoint and ours expect; without ``id`` where others have all cases."""
        sample = self._samples.choose(self._name, request.get("client_id"), datastore)
        if sample is None:
            return None
        answer = {
            "slice": sample.k,
            "score": None if sample.score is None else round(sample.score, 4),
            "strategy": sample.strategy,
            "reason": sample.reason,
            "model_version": sample.model_version,
        }
        return answer if sample.image is None else {"id": sample.image, **answer}
