"""A network that is loaded when it is first needed, follows the registry, and tells about itself.

A training publishes a version, or somebody rolls one back: a running server sees it within a
second or two, loads the version beside the one that answers, and exchanges both at once.

Concurrency contract. What answers is one immutable `Live` in ``_live``, replaced as a whole;
whoever answers a request takes it once and keeps it to the end. ``_lock`` guards loading, the first
one and each exchange; only who comes before the first one has ended waits for it. One daemon thread
(`warm_up`) looks at the registry once a second. ``problem`` is one string, replaced as a whole.
"""

from __future__ import annotations

import atexit
import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable
from functools import cached_property
from typing import Generic

import torch

from lib.errors import CheckpointError, Samed2dError
from lib.inference.segmenter import SliceSegmenter
from lib.networks.backends import check_backend, choose_device
from lib.networks.plan import AUTO
from lib.networks.weights import version_of
from lib.options import AppOptions, default_cache_dir
from lib.server.audit import record
from lib.server.live import AnyLive, Maker
from lib.server.live_cubes import LiveCubes, LiveCubesMaker
from lib.server.live_model import MIB, LiveModel, LiveModelMaker
from lib.server.models import NetworkChoice
from lib.training.registry import BASE, Registry, Version, registry_folder

__all__ = ["MIB", "ServedCubes", "ServedModel", "ServedNetwork"]

POLL_SECONDS = 1.0
"""So often the registry is looked at."""
EXIT_SECONDS = 20.0
"""So long the end of the server waits for a network that is being loaded."""

logger = logging.getLogger(__name__)


class ServedNetwork(ABC, Generic[AnyLive]):
    """One network behind one or more tasks; the constructor is cheap.

    Args:
        choice: architecture and base weights.
        options: device, backend, caches and registry.

    Attributes:
        problem: why what the registry names is not served; None where it is.

    Raises:
        OptionError: a device or backend this machine does not have.
    """

    def __init__(self, choice: NetworkChoice, options: AppOptions) -> None:
        if AUTO not in (options.backend, options.precision):
            check_backend(options.backend, options.precision)
        self.choice = choice
        self.device = choose_device(options.device)
        self.problem: str | None = None
        self._options = options
        self._cache = options.cache_dir or default_cache_dir()
        self._registry: Registry | None = None
        if choice.weights is not None:  # of random weights nothing can be said that stays true
            self._registry = Registry(registry_folder(options), choice.architecture, choice.weights)
        self._stamp: Hashable = None
        self._lock = threading.Lock()
        self._live: AnyLive | None = None
        self._end = threading.Event()

    @cached_property
    def base_version(self) -> str:
        """Architecture and base weights in one word: "samed2d_t-0123456789ab"."""
        return version_of(self.choice.architecture, self.choice.weights)

    @property
    def registry(self) -> Registry | None:
        """The versions it follows; None without trained weights."""
        return self._registry

    @property
    def version(self) -> str:
        """What answers, in one word; before it is loaded, what would."""
        live = self._live
        if live is not None:
            return live.model_version
        return self._name(None if self._registry is None else self._registry.serving())

    @property
    def device_name(self) -> str:
        """Where it runs: "cpu", or the name of the CUDA device."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return self.device.type

    @property
    def summary(self) -> str:
        """What is served, as one phrase for the annotator; cheap."""
        if self.choice.weights is None:
            return f"{self.choice.architecture} WITHOUT trained weights: its masks are noise"
        return f"{self.choice.architecture}, {self.choice.weights.name}, on {self.device.type}"

    @property
    def loaded(self) -> AnyLive | None:
        """What answers now; None before the first load."""
        return self._live

    @property
    def encoder_status(self) -> str:
        """What encodes images, and what is being prepared: "torch fp32, preparing ..."."""
        live = self._live
        return "not loaded yet" if live is None else live.encoder_status

    def live(self) -> AnyLive:
        """What answers now; the first call loads it.

        Raises:
            CheckpointError: the base weights cannot be used.
            OptionError: a backend that cannot run here.
        """
        live = self._live
        if live is not None:
            return live
        with self._lock:
            if self._live is None:
                self._live = self._first()
            return self._live

    def wait_until_settled(self) -> None:
        """Wait for the faster encoder, if one is being prepared."""
        self.live().wait_until_settled()

    def refresh(self) -> bool:
        """Serve what the registry names now; whether that is something else than before.

        Where it cannot be loaded, what answered goes on answering. Does nothing before the first
        load.
        """
        before = self._live
        if before is None or self._registry is None or self._registry.stamp() == self._stamp:
            return False
        live = before
        with self._lock:
            version, problem = self._look()
            if self._name(version) != before.model_version:
                try:
                    self._live = live = self._maker.make(version, before)
                except Exception as error:
                    problem = _problem(version, error, before.model_version)
            self._tell(problem)
        if live is before:
            return False
        logger.info("%s serves, %s did before", live.model_version, before.model_version)
        record("version serves", version=live.model_version, before=before.model_version)
        before.retire(live)
        return True

    def warm_up(self) -> None:
        """Load the network in the background, and what the registry names from then on."""
        _ = self._maker  # its thread must end after the one made here
        thread = threading.Thread(target=self._follow, name="follow-registry", daemon=True)
        thread.start()

        def end() -> None:
            # Inside of torch when Python ends, the thread would take the process down with it.
            self._end.set()
            thread.join(EXIT_SECONDS)

        atexit.register(end)

    @cached_property
    def _maker(self) -> Maker[AnyLive]:
        return self._make_maker()

    @abstractmethod
    def _make_maker(self) -> Maker[AnyLive]:
        """Makes what answers; called once."""

    def _name(self, version: Version | None) -> str:
        return self.base_version if version is None else version.model_version

    def _first(self) -> AnyLive:
        version, problem = self._look()
        live = None
        if version is not None:
            try:
                live = self._maker.make(version)
            except CheckpointError as error:
                problem = _problem(version, error, self.base_version)
        self._tell(problem)
        return live or self._maker.make(None)

    def _look(self) -> tuple[Version | None, str | None]:
        """What is to be served, and what is wrong with what should have been."""
        if self._registry is None:
            return None, None
        self._stamp = self._registry.stamp()  # first, so that no later change is missed
        wanted, version = self._registry.wanted(), self._registry.serving()
        found = BASE if version is None else version.name
        if wanted == found:
            return version, None
        return version, f"version {wanted} is damaged, {found} answers instead"

    def _tell(self, problem: str | None) -> None:
        if problem is not None:
            logger.error("%s: %s", self.choice.architecture, problem)
        self.problem = problem

    def _follow(self) -> None:
        try:
            self.live()
        except Samed2dError as error:
            # The first click meets the same error and gets it as its answer.
            logger.error("%s could not be loaded: %s", self.choice.architecture, error.message)
        except Exception:
            logger.exception("%s could not be loaded", self.choice.architecture)
        while not self._end.wait(POLL_SECONDS):
            try:
                self.refresh()
            except Exception:
                logger.exception("the registry of %s cannot be read", self.choice.architecture)


class ServedModel(ServedNetwork[LiveModel]):
    """A network of slices."""

    def segmenter(self) -> SliceSegmenter:
        """As `live`, the part that answers."""
        return self.live().segmenter

    def _make_maker(self) -> LiveModelMaker:
        return LiveModelMaker(self.choice, self._options, self.device, self._cache)


class ServedCubes(ServedNetwork[LiveCubes]):
    """A network of volumes."""

    def _make_maker(self) -> LiveCubesMaker:
        return LiveCubesMaker(self.choice, self._options, self.device, self._cache)


def _problem(version: Version | None, error: Exception, instead: str) -> str:
    name = "the base weights" if version is None else f"version {version.name}"
    reason = error.message if isinstance(error, Samed2dError) else repr(error)
    return f"{name} cannot be loaded, {instead} answers instead: {reason}"
