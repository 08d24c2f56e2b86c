"""What MONAI Label 0.8.5 needs before it behaves: settings, patches, error answers.

Everything here changes the host from outside and says which of its defects it is for, so that it
can go when the host no longer has it. All patches replace one name in one module; none edits a
method's code. `prepare_host` applies them and may be called again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from typing import Any, NoReturn

import monailabel.interfaces.app
from monailabel.config import settings

from lib.errors import Samed2dError
from lib.options import AppOptions, parse_options
from lib.server.card_endpoint import serve_cards
from lib.server.datastore import PacsDatastore
from lib.server.datastore_endpoints import check_datastore
from lib.server.dicom_proxy import repair_proxy
from lib.server.error_answers import answer_errors
from lib.server.local_datastore import SafeLocalDatastore
from lib.server.next_sample_endpoint import thread_next_sample
from lib.server.other_endpoints import check_others
from lib.server.protect import protect
from lib.server.running import running_server
from lib.server.save_endpoint import thread_labels
from lib.server.session_endpoints import check_sessions
from lib.server.sessions import SafeSessions
from lib.server.sign_in import serve_sign_in
from lib.server.task_endpoints import check_tasks
from lib.server.threaded_infer import thread_infer
from lib.server.version_endpoint import serve_versions
from lib.server.viewer_files import serve_viewer
from lib.server.volume_jobs_endpoint import serve_volume_jobs
from lib.server.watch import serve_watch

SETTINGS: dict[str, Any] = {
    # 0.8.5 lists series of Modality CT only. An empty filter lists all; `PacsDatastore` leaves
    # out what is no image.
    "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": {},
    # Two hours in 0.8.5: a labelled image is offered again as if nobody had saved anything.
    # Read by `PacsDatastore` when it is made; the host's own lists, which read it at import and
    # which we do not use, would need it in the environment (scripts/start.sh sets it there too).
    "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY": 1,
    # MLflow 3 refuses the file store that MONAI writes to; every training would end with it.
    "MONAI_LABEL_TRACKING_ENABLED": False,
    # Each next sample would start all scoring methods in new processes.
    "MONAI_LABEL_AUTO_UPDATE_SCORING": False,
    # What `read_volume` opens; 0.8.5 also lists TIFF, whole-slide and XML files. Not DICOM: the
    # host lists files, and each slice of a series would be an image of its own.
    "MONAI_LABEL_DATASTORE_FILE_EXT": ["*.nii.gz", "*.nii", "*.nrrd", "*.png", "*.jpg", "*.jpeg"],
}
"""Settings that are ours unless the person who starts the server chose them."""

ENVIRONMENT = {
    # The host forgets all modules named lib when it loads an app; a reload would leave two
    # versions of every class. The first load happens before this line and needs nothing: lib has
    # not been imported then. Only tests that import lib first need it in their environment.
    "MONAI_LABEL_RELOAD_APP_LIB": "false",
}

HOST_OPTIONS = frozenset({"server_mode"})
"""``--conf`` keys that `MONAILabelApp` reads itself."""


def prepare_host() -> None:
    """Apply everything; to be called before ``MONAILabelApp.__init__``."""
    apply_settings()
    find_dcmqi()
    # The classes the host makes for DICOMweb and for sessions, the routes of a click, of the next
    # sample and to the PACS; the modules of ours say what is wrong with the host's.
    monailabel.interfaces.app.DICOMWebDatastore = PacsDatastore
    monailabel.interfaces.app.LocalDatastore = SafeLocalDatastore
    monailabel.interfaces.app.Sessions = SafeSessions
    thread_infer()
    thread_labels()
    thread_next_sample()
    check_datastore()
    check_sessions()
    check_tasks()
    check_others()
    repair_proxy()
    if (server := running_server()) is not None:
        answer_errors(server)
        serve_cards(server)
        serve_versions(server)
        serve_volume_jobs(server)
        serve_viewer(server)
        serve_sign_in(server)
        serve_watch(server)


def open_host(conf: Mapping[str, str]) -> AppOptions:
    """Prepare the host, read the options, and let only those in who may; returns the options.

    Raises:
        OptionError: an option that cannot be used.
    """
    prepare_host()
    options = parse_options(without_host_options(conf))
    if (server := running_server()) is not None:
        protect(server, options)
    return options


def without_host_options(conf: Mapping[str, str]) -> dict[str, str]:
    """The ``--conf`` pairs that are meant for this app."""
    return {key: value for key, value in conf.items() if key not in HOST_OPTIONS}


def end_start(error: Samed2dError) -> NoReturn:
    """End the process because of options it cannot work with; the sentence is the last word.

    The web server prints the stack of whatever ends its start, thirty lines in which the sentence
    would drown. The process ends here, so nobody misses the stacks of later errors.
    """
    if running_server() is not None:
        sys.tracebacklimit = 0
    raise SystemExit(f"The server cannot start. {error.message}") from None


def apply_settings() -> None:
    """Set our defaults in the host's settings, and in the environment for its child processes.

    The host copies all of its settings to the environment when it starts, its defaults too, so
    only the settings object still tells which of them somebody chose.
    """
    for name, value in SETTINGS.items():
        if name not in settings.model_fields_set:
            setattr(settings, name, value)
            os.environ[name] = json.dumps(value)
    for name, text in ENVIRONMENT.items():
        os.environ.setdefault(name, text)


def find_dcmqi() -> None:
    """Put the scripts of this Python on PATH, where package dcmqi has ``itkimage2segimage``.

    0.8.5 looks for it on PATH when it opens a DICOMweb server and otherwise downloads an old
    version from the internet; without internet the start fails. A virtual environment that is
    called by path and not activated is not on PATH.
    """
    scripts = sysconfig.get_path("scripts")
    if shutil.which("itkimage2segimage") is None:
        os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", ""), scripts))
