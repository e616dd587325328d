"""The backend `native`. What it needs is imported when it is used: the import of the package stays cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uva_edge.bundle import Bundle
from uva_edge.environment import Availability
from uva_edge.manifest import Artifact

from ..backend import SessionOptions

if TYPE_CHECKING:
    from .session import NativeSession

NAME: Final = "native"
INTEGERS: Final = "native"
"""Format of the artifact that holds the constants of an int8 network."""


class NativeBackend:
    """Float32 from the bundle's weights, int8 from its integer constants."""

    name = NAME
    formats = (INTEGERS, "torch")

    def installed(self) -> Availability:
        from .build import probe_compiler

        return probe_compiler()

    def probe(self) -> Availability:
        from .build import probe_compiler

        return probe_compiler()

    def load(self, bundle: Bundle, artifact: Artifact, options: SessionOptions) -> NativeSession:
        from .session import NativeSession

        return NativeSession(bundle, artifact, options)
