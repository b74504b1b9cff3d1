"""Where compiled code is kept, so that the map's first fit compiles once per machine and not once per process.

Knows nothing about maps. Must be called before anything imports numba (umap does).
"""

import os
import sys
from pathlib import Path


def default_folder() -> Path:
    """The user's cache folder for compiled code (`XDG_CACHE_HOME` is honoured)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "touchstone" / "numba"


def keep_compiled_code(folder: Path | None = None) -> Path | None:
    """Point numba's cache at `folder` (default: the user's cache folder); return the folder in force.

    Leaves a folder the user set in `NUMBA_CACHE_DIR` alone. Returns None, changing nothing, where the folder
    cannot be written: numba then compiles anew in each process, which is slower and gives the same answer.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    target = folder or default_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(target, os.W_OK):
        return None
    os.environ["NUMBA_CACHE_DIR"] = str(target)
    if "numba" in sys.modules:
        sys.modules["numba"].config.reload_config()
    return target
