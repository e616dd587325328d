"""Where a user's cache lies: measurements and compiled libraries, which can be made again at any time."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """$XDG_CACHE_HOME/uva_edge, or ~/.cache/uva_edge.

    Raises RuntimeError where the user has no home.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "uva_edge"
