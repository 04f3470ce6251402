"""Freed memory back to the system."""

from __future__ import annotations

import ctypes


def give_back_freed_memory() -> None:
    """Return the C library's freed blocks to the system, where it can (glibc).

    Reading and rewriting the networks leaves some 50 MB of freed blocks behind, which glibc would keep: resident memory that a kiosk shares with its display,
    and on a Jetson with the GPU. Source: malloc_trim(3).
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
