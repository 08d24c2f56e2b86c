"""The MONAI Label app ``samed2d``: wiring only, everything else lives in ``lib``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The host runs this file from any working directory, also in training processes; lib/ lies in
# the root of the repository, and an empty folder lib/ that the host creates beside this file
# must not be taken for it.
_REPOSITORY = str(Path(__file__).resolve().parents[2])
if _REPOSITORY not in sys.path:
    sys.path.insert(0, _REPOSITORY)

from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.datastore import Datastore  # noqa: E402
from monailabel.interfaces.tasks.infer_v2 import InferTask  # noqa: E402
from monailabel.interfaces.tasks.strategy import Strategy  # noqa: E402
from monailabel.interfaces.tasks.train import TrainTask  # noqa: E402

from lib.errors import Samed2dError  # noqa: E402
from lib.imaging.volume import ReadLimits  # noqa: E402
from lib.server.auto_train import AutoTrain, follow_labels  # noqa: E402
from lib.server.batch import PreAnnotateTask  # noqa: E402
from lib.server.datastore import configured  # noqa: E402
from lib.server.dispatch import run_infer  # noqa: E402
from lib.server.drafts import Drafts  # noqa: E402
from lib.server.host import end_start, open_host  # noqa: E402
from lib.server.kinds import chooser, kind_of  # noqa: E402
from lib.server.models import NetworkChoice, ServedSpec, served_models  # noqa: E402
from lib.server.next_sample import NextSamples  # noqa: E402
from lib.server.running import running_server, sentence_last  # noqa: E402
from lib.server.served_model import MIB, ServedNetwork  # noqa: E402
from lib.server.submit import NAME as SUBMIT  # noqa: E402
from lib.server.submit import SubmitTask  # noqa: E402
from lib.server.volumes import VolumeStore  # noqa: E402

MODELS = Path(__file__).resolve().parent / "models"


class Samed2dApp(MONAILabelApp):
    """SAM-Med2D as MONAI Label serves it; the host finds it by its one direct base class."""

    _auto_train: AutoTrain | None = None
    _next_samples: NextSamples | None = None

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        try:
            self.options = open_host(conf)
            super().__init__(
                app_dir=app_dir,
                studies=studies,
                conf=dict(conf),
                name="SAM-Med2D",
                description="Click to segment medical images with SAM-Med2D",
                # A list: OHIF appends to it.
                labels=list(self.options.labels),
            )
        except Samed2dError as error:
            end_start(error)

    def init_datastore(self) -> Datastore:
        """The host's; labels that wait for a PACS are delivered from now on."""
        return configured(super().init_datastore(), self.options, running_server() is not None)

    def _served(self) -> tuple[ServedSpec, ...]:
        return served_models(MODELS, self.options)

    def init_infers(self) -> dict[str, InferTask]:
        """One task for each served model; those with the same network share it.

        A server loads the networks in the background now, so that nobody's click has to. Other
        processes, those that train, load none.
        """
        limits = ReadLimits(max_voxels=self.options.max_voxels)
        volumes, drafts = VolumeStore(self.options.volume_cache_mb * MIB, limits), Drafts()
        tasks: dict[str, InferTask] = {}
        networks: dict[NetworkChoice, ServedNetwork[Any]] = {}
        for served in self._served():
            spec, choice = served.spec, served.choice
            if choice not in networks:
                networks[choice] = kind_of(spec).network(choice, self.options)
            make = kind_of(spec).infer
            tasks[spec.name] = make(spec, self.options, networks[choice], volumes, drafts)
        self._click_task = tasks[chooser(self._served())]
        tasks[SUBMIT] = SubmitTask(self.options.labels, drafts, volumes)
        if running_server() is not None:
            for network in networks.values():
                network.warm_up()
        return tasks

    def init_trainers(self) -> dict[str, TrainTask]:
        """One for each model that learns from clicks."""
        return {
            served.spec.name: train(served.spec, self.options, served.choice)
            for served in self._served()
            if (train := kind_of(served.spec).train) is not None
        }

    def train(self, request: Mapping[str, Any]) -> Any:
        """Train in this process, which in a server is one of its own."""
        with sentence_last():
            return super().train(dict(request))

    def init_batch_infer(self) -> PreAnnotateTask:
        """What ``POST /batch/infer/{model}`` does, whatever model it names."""
        return PreAnnotateTask(self._click_task, ReadLimits(max_voxels=self.options.max_voxels))

    def init_strategies(self) -> dict[str, Strategy]:
        """What to label next; OHIF always asks for "random"."""
        task = self._click_task
        args = (self.options, task, task.model, self.datastore, self.studies)
        self._next_samples = NextSamples(*args)
        return self._next_samples.strategies()

    def infer(self, request: Mapping[str, Any], datastore: Datastore | None = None) -> Any:
        """Answer one request; see `lib.server.dispatch`."""
        return run_infer(self._infers, request, datastore or self.datastore(), self.on_save_label)

    def on_init_complete(self) -> None:
        """The server is ready: what works in its background begins."""
        super().on_init_complete()
        if self._next_samples is not None:
            self._next_samples.start()
        self._auto_train = follow_labels(self.options, next(iter(self._trainers)))

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """A final label was saved; the host calls it, and `infer`."""
        if self._next_samples is not None:
            self._next_samples.saved(image_id)
        if self._auto_train is not None:
            self._auto_train.saved(image_id)
