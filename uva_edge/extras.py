"""What an absent extra is told as: the package that is missing, and the pip line that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from uva_edge.errors import MissingPackageError, UvaEdgeError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Imports that only an extra brings; raises MissingPackageError where they fail."""
    try:
        yield
    except ImportError as error:
        if isinstance(error, UvaEdgeError):
            raise
        raise MissingPackageError(
            f"this needs the package {error.name}, which is not installed; pip install 'uva-edge[{extra}]'"
        ) from None
