"""What can go wrong between a network and a running plan."""

from __future__ import annotations

from edge.errors import EngineError


class BuildFailed(EngineError):
    """The library could not build a plan of a network, or must not try."""


class PlanRefused(EngineError):
    """A file that is no plan, not whole, or not the plan that was asked for. Loading a plan executes native code in it: such a one is never loaded."""
