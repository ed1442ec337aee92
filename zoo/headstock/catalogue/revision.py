"""The schema revision that this version reads and writes; kept apart so that checking it imports nothing."""

from __future__ import annotations

HEAD = "0002"
"""Newest migration in `migrations/versions`."""
