"""A software bill of materials: what is installed beside Farthing, as CycloneDX.

The library that writes the format is not needed to serve, and so is not a dependency of the product.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any

import farthing

MISSING = "farthing sbom needs cyclonedx-python-lib: pip install 'cyclonedx-python-lib>=11'"


class SbomUnavailable(RuntimeError):
    """The library that writes the format is not installed."""


def software_bill() -> str:
    """The CycloneDX document of the installed distributions, as JSON. Raises SbomUnavailable."""
    try:
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as error:
        raise SbomUnavailable(MISSING) from error
    root = Component(name="farthing", version=farthing.__version__, type=ComponentType.APPLICATION)
    components = {found.bom_ref.value: found for found in map(_component, _installed())}
    bom = Bom(components=components.values())
    bom.metadata.component = root
    bom.register_dependency(root, components.values())
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _installed() -> list[metadata.Distribution]:
    """Every distribution of this environment but Farthing itself."""
    found = {str(found.metadata["Name"]).lower(): found for found in metadata.distributions() if found.metadata["Name"]}
    return [found[name] for name in sorted(found) if name != "farthing"]


def _component(distribution: metadata.Distribution) -> Any:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name, version = str(distribution.metadata["Name"]), distribution.version
    url = PackageURL("pypi", name=name.lower().replace("_", "-"), version=version)
    stated = distribution.metadata
    licenses = (
        [LicenseFactory().make_from_string(stated["License-Expression"])] if "License-Expression" in stated else []
    )
    return Component(
        name=name, version=version, type=ComponentType.LIBRARY, bom_ref=str(url), purl=url, licenses=licenses
    )
