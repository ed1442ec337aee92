"""The engine's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstock.providers import Binding, Device


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How backbones are loaded and how large a pass may be."""

    device: Device = "cpu"
    """Where backbones run; a missing provider is an error, never a silent fall-back. Heads run on the CPU."""
    threads: int = 1
    """Intra-op threads per session."""
    token_budget: int | None = None
    """Tokens in one padded pass; None profiles each backbone when it is loaded."""
    profile_seconds: float = 1.0
    """Longest time that profiling one backbone may take; large backbones are measured at fewer points."""
    padding_waste: float = 0.10
    """Largest share of padding in a pass, where the family allows padding at all."""
    max_rows: int = 1024
    """Rows in one pass at most, whatever the token budget allows; the isolation certificate may allow fewer."""
    run_seconds: float | None = None
    """Longest time of one run of a graph; then it is ended, and the rows of its pass are answered `RunTimeout`."""
    shared_arena: bool = True
    """One arena for all sessions on the CPU: each would keep what its largest pass took."""
    binding: Binding | None = None
    """How passes reach the runtime; None: IO binding from page-locked memory on a GPU, none on the CPU."""
    buckets: bool | None = None
    """Round lengths up, so that shapes repeat, where the family allows padding; None: on a GPU."""
    cuda_graphs: bool = False
    """Capture the passes of small shapes at load and replay them; falls back with a warning where that fails."""
    gpu_memory: int | None = None
    """Bytes that one session's arena on a GPU may take; None for no limit."""
    engine_cache: Path | None = None
    """Folder that keeps TensorRT's engines between starts."""
    certificates: Path | None = None
    """Folder that keeps the isolation certificates that were measured at load; None measures at every load."""

    @property
    def rounds_lengths(self) -> bool:
        """Whether lengths are rounded up."""
        return self.device != "cpu" if self.buckets is None else self.buckets
