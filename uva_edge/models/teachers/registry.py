"""The teachers that are trained here, by name."""

from __future__ import annotations

from typing import Any, Final

from uva_edge.errors import OptionError

from .dva import DVA
from .salnet import SalNet
from .ssnet import SSNet
from .teacher import TeacherNet
from .tsnet import TSNet

TEACHERS: Final[dict[str, type[TeacherNet]]] = {"dva": DVA, "salnet": SalNet, "ssnet": SSNet, "tsnet": TSNet}


def build_teacher(name: str, **options: Any) -> TeacherNet:
    """A new teacher with random weights; `options` are those of its class.

    Raises:
        OptionError: no teacher has this name, or it has no such option or value.
    """
    if name not in TEACHERS:
        raise OptionError(f"teacher must be one of {', '.join(TEACHERS)}; got {name!r}")
    try:
        return TEACHERS[name](**options)
    except TypeError as error:
        raise OptionError(f"teacher {name}: {error}") from None
