"""The PACS as `lib.server.delivery` needs it: look for an instance, send one, bring one back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset

from lib.errors import RefusedError
from lib.server.pacs_questions import AS_STORED, ask, send


class PacsArchive:
    """Instances of a PACS.

    Args:
        client: for its DICOMweb service.
        series_files: brings the DICOM files of an image's series to this computer.
        image_file: brings the image.
    """

    def __init__(
        self,
        client: DICOMwebClient,
        series_files: Callable[[str], Sequence[Path]],
        image_file: Callable[[str], Path],
    ) -> None:
        self._client = client
        self.series_files, self.image_file = series_files, image_file

    def holds(self, study: str, series: str, instance: str) -> bool:
        """Whether the PACS lists an instance (QIDO-RS).

        Raises:
            UnavailableError: it does not answer.
        """
        filters = {"SOPInstanceUID": instance}
        found = ask(
            lambda: [
                str(Dataset.from_json(answer).SOPInstanceUID)
                for answer in self._client.search_for_instances(
                    study, series, search_filters=filters
                )
            ]
        )
        return instance in found

    def send(self, file: Dataset) -> None:
        """Give the PACS an instance (STOW-RS).

        Raises:
            RefusedError: it answers that it does not take it.
            UnavailableError: it does not answer.
        """
        answer = send(lambda: self._client.store_instances([file]))
        failed = list((answer or Dataset()).get("FailedSOPSequence") or ())
        if failed:
            reason = int(failed[0].get("FailureReason") or 0)
            raise RefusedError(
                got=f"a label that the PACS did not store (reason {reason:04X} in hexadecimal)",
                allowed="a DICOMweb server that takes DICOM SEG by STOW-RS",
                todo="look at the log of the PACS",
            )

    def fetch(self, study: str, series: str, instance: str) -> Dataset:
        """Bring an instance back as it is stored (WADO-RS).

        Raises:
            UnavailableError: the PACS does not answer, or with something else.
        """
        return ask(
            lambda: self._client.retrieve_instance(study, series, instance, media_types=AS_STORED)
        )
