"""The licence that a Python package declares, as an SPDX expression where that is possible.

Read in this order: ``License-Expression`` (PEP 639), a short ``License``, the classifiers. What
packages write in free words is translated where its meaning is clear; "BSD" stays as it is, because
there are several. A few declare nothing or the wrong thing; their files were read, see `READ`.
"""

from __future__ import annotations

import re
from email.message import Message
from typing import Any, Final

from license_expression import get_spdx_licensing

LONGEST = 60
"""A longer text in the field ``License`` is the licence itself."""

SPDX: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD-3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "MIT licensed, as found in the LICENSE file": "MIT",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "OSI Approved :: Apache Software License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Words of authors -> SPDX."""

READ: Final = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
    "dicomweb-client": "MIT",
    "huey": "MIT",
    "python-dateutil": "Apache-2.0 AND BSD-3-Clause",
    "segment-anything": "Apache-2.0",
    "skops": "MIT",
}
"""Package -> what its licence file says."""

UNKNOWN: Final = "unknown"
_ASKS_FOR_MORE = re.compile(r"(A|L)?GPL|MPL|EUPL|CDDL|EPL|Proprietary|unknown")
_SPDX_GRAMMAR = get_spdx_licensing()


def licence_of(name: str, metadata: Message) -> str:
    """The licence of a package; `UNKNOWN` where it says nothing.

    Args:
        name: as in the lock file.
        metadata: of the installed package.
    """
    if name in READ:
        return READ[name]
    declared = str(metadata.get("License-Expression") or "").strip()
    text = str(metadata.get("License") or "").strip()
    if not declared and "\n" not in text and len(text) < LONGEST and text.upper() != "UNKNOWN":
        declared = text
    if declared:
        return SPDX.get(declared, declared)
    lines = [str(line) for line in metadata.get_all("Classifier") or []]
    names = {line.split("::")[-1].strip() for line in lines if line.startswith("License ::")}
    return " AND ".join(sorted(SPDX.get(name, name) for name in names)) or UNKNOWN


def is_permissive(licence: str) -> bool:
    """Whether it asks for no more than to be named: no copyleft, nothing proprietary.

    Of a choice ("Apache-2.0 OR GPL-2.0-only") one part has to be so, of a sum all parts.

    Args:
        licence: from `licence_of`.
    """
    return _is_permissive(_SPDX_GRAMMAR.parse(licence))


def _is_permissive(expression: Any) -> bool:
    if isinstance(expression, _SPDX_GRAMMAR.OR):
        return any(_is_permissive(part) for part in expression.args)
    if isinstance(expression, _SPDX_GRAMMAR.AND):
        return all(_is_permissive(part) for part in expression.args)
    return not _ASKS_FOR_MORE.search(str(expression))
