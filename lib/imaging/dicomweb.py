"""How a PACS is asked (DICOMweb): with limited patience, and so that its silence is an error.

Whatever it answers that is not what was asked for, down to a page of a proxy, becomes an
`UnavailableError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import requests
from dicomweb_client import DICOMwebClient
from requests.adapters import HTTPAdapter

from lib.errors import Samed2dError, UnavailableError

TIMEOUT = (5.0, 60.0)
"""Seconds until a connection stands, and between two pieces of an answer."""

AS_STORED = (("application/dicom", "*"),)
"""Media type and transfer syntax of a question for files (DICOM PS3.18, 8.7.3.5.2)."""

Value = TypeVar("Value")


class _LimitedAdapter(HTTPAdapter):
    """Waits for a PACS as long as `TIMEOUT` says unless a call says otherwise."""

    def send(self, *args: object, **kwargs: object) -> requests.Response:
        """Send a request; as its base class."""
        kwargs["timeout"] = kwargs.get("timeout") or TIMEOUT
        return super().send(*args, **kwargs)  # type: ignore[arg-type]  # passed through


def limit_patience(client: DICOMwebClient) -> None:
    """Keep a silent PACS from stopping the server.

    The host answers one request at a time, so everybody waits for the PACS. The client of 0.8.5
    waits for an answer without end, and tries an address where nobody listens for 30 s.
    """
    client.set_http_retry_params(max_attempts=2, wait_exponential_multiplier=250)
    for scheme in ("http://", "https://"):
        client._session.mount(scheme, _LimitedAdapter())


def ask(question: Callable[[], Value]) -> Value:
    """Call the PACS.

    Raises:
        UnavailableError: it does not answer, or with something else than what was asked for.
    """
    try:
        return question()
    except requests.RequestException as error:
        raise _unusable(str(error).split("\n")[0]) from error
    except (Samed2dError, OSError):
        raise
    except Exception as error:  # pydicom and the client have no one error for garbage
        raise _unusable(f"{type(error).__name__}: {str(error)[:100]}") from error


def _unusable(reason: str) -> UnavailableError:
    return UnavailableError(
        got=f"no usable answer from the PACS ({reason[:200]})",
        allowed="a DICOMweb server that answers QIDO-RS and WADO-RS",
        todo="check that it runs and that the address and the account are right",
    )
