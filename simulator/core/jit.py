"""Compiled kernels and where their machine code is kept.

Numba's own cache looks only at the file of the function it keeps: edit another function that this one calls, and it
goes on running the old code (numba issue 8396). Kernels here keep their code in a folder named by a hash of *all*
kernel sources, so an edit anywhere leaves the old folder behind.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from simulator.core.formula import HOUSE_JIT

__all__ = ["WITHOUT_REFERENCES", "kernel_cache", "kernel_jit", "source_hash"]

F = TypeVar("F", bound=Callable[..., Any])

_HASH_DIGITS = 16

#: Numba's option for code that has no reference-counted memory.
WITHOUT_REFERENCES: dict[str, Any] = {"_nrt": False}


def source_hash(sources: Iterable[Path]) -> str:
    """Hash of the names and contents of source files, whatever their order."""
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:_HASH_DIGITS]


def kernel_cache(sources: Iterable[Path]) -> Path | None:
    """Return the folder for the machine code of kernels from ``sources``; None where nothing can be written.

    It lies under ``RIDGELINE_CACHE``, else ``XDG_CACHE_HOME``, else ``~/.cache``.
    """
    named = os.environ.get("RIDGELINE_CACHE")
    root = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ridgeline"
    folder = root / "kernels" / source_hash(sources)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


def _load_without_blas() -> None:
    """Load what numba would load at the first kernel, but not SciPy, which it looks for then: 0.16 s of every start.

    Numba asks whether SciPy has a BLAS for ``np.cov`` alone; whatever else needs it loads it when it is compiled.
    """
    blas = "scipy.linalg.cython_blas"
    if "numba.np.arraymath" in sys.modules or blas in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[blas]


def kernel_jit(
    sources: Iterable[Path], *, allocates: bool = True, inline: bool = False, name: str = ""
) -> Callable[[F], F]:
    """Return the decorator that compiles a kernel on its first call, with the house options and the house cache.

    Parameters
    ----------
    sources : iterable of Path
        Every file whose functions the decorated ones call, their own included.
    allocates : bool
        False for kernels that make no array and no slice assignment: they compile to code that counts no references to
        its arguments. Counting costs several atomic operations per array and call, which in kernels of many small
        functions is more than all they compute.
    inline : bool
        Make kernels part of those that call them: for many small ones with many arguments, each called in one place.
    name : str
        What the kernels are: said on stderr while they are compiled, for those that take long.
    """
    import numba

    from simulator.core.compile_notice import announce

    _load_without_blas()
    folder = kernel_cache(sources)
    settings: Any = numba.config
    options = ({} if allocates else WITHOUT_REFERENCES) | ({"forceinline": True} if inline else {})

    def compiled(function: F) -> F:
        # Numba decides where to keep code when it decorates, from a global setting.
        previous = settings.CACHE_DIR
        settings.CACHE_DIR = "" if folder is None else str(folder)
        try:
            kernel: F = numba.njit(cache=folder is not None, **options, **HOUSE_JIT)(function)
        finally:
            settings.CACHE_DIR = previous
        if name:
            announce(kernel, name)
        return kernel

    return compiled
