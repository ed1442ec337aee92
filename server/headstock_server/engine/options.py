"""The engine's settings."""

from __future__ import annotations

from dataclasses import dataclass

from headstock.graph import Device


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How backbones are loaded and how large a pass may be."""

    device: Device = "cpu"
    """Where backbones run; a missing CUDA provider is an error, never a silent fall-back."""
    threads: int = 1
    """Intra-op threads per session."""
    token_budget: int | None = None
    """Tokens in one padded pass; None profiles each backbone when it is loaded."""
    profile_seconds: float = 1.0
    """Longest time that profiling one backbone may take; large backbones are measured at fewer points."""
    padding_waste: float = 0.10
    """Largest share of padding in a pass, where the family allows padding at all."""
    max_rows: int = 1024
    """Rows in one pass at most, whatever the token budget allows."""
    run_seconds: float | None = None
    """Longest time of one run of a graph; then it is ended, and the rows of its pass are answered `RunTimeout`."""
