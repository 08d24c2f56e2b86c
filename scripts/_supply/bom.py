"""A software bill of materials in CycloneDX 1.6, which scanners of hospitals read."""

from __future__ import annotations

from collections.abc import Sequence

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from scripts._supply.files import SuppliedFile
from scripts._supply.packages import Package

NAME = "samed2d"


def bill_of_materials(packages: Sequence[Package], files: Sequence[SuppliedFile]) -> str:
    """CycloneDX JSON; each part has a licence, files have their SHA-256.

    Two runs give the same components in the same order; the serial number and the time differ.
    """
    bom = Bom()
    bom.metadata.component = root = Component(
        name=NAME, type=ComponentType.APPLICATION, bom_ref=NAME, licenses=_licence("Apache-2.0")
    )
    parts = [*map(_package, packages), *map(_file, files)]
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(root, parts)
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _package(package: Package) -> Component:
    url = PackageURL("pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        purl=url,
        bom_ref=str(url),
        licenses=_licence(package.licence),
    )


def _file(file: SuppliedFile) -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)] if file.sha256 else []
    return Component(
        name=file.name,
        version=file.version or None,
        type=ComponentType.MACHINE_LEARNING_MODEL if file.is_weights else ComponentType.APPLICATION,
        bom_ref=f"file:{file.name}",
        hashes=hashes,
        licenses=_licence(file.licence),
        description=file.origin,
    )


def _licence(text: str) -> list:  # type: ignore[type-arg]  # of a union private to the library
    return [LicenseFactory().make_from_string(text)]
