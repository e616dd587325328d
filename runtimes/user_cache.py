"""Where uva_edge keeps what was found out or made on this device: for the user who runs it, outside of any bundle."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """$XDG_CACHE_HOME/uva_edge, or below ~/.cache. Raises RuntimeError where the user has no home."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "uva_edge"
