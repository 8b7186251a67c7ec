"""Explorers: which points of a space to look at next, through one ask/tell protocol."""

from __future__ import annotations

from dse.explorers.explorer import Explorer, open_explorer

__all__ = ["Explorer", "open_explorer"]
