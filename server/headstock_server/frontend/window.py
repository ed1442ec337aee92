"""How far one side of a stream may run ahead of the other."""

from __future__ import annotations

import asyncio

AHEAD = 16
"""Messages of one stream and direction that may be on their way: a caller that reads nothing costs no more memory."""


class Window:
    """Room for messages that the other side has not taken yet."""

    def __init__(self) -> None:
        """All room."""
        self._room = asyncio.Semaphore(AHEAD)

    async def acquire(self) -> None:
        """Wait for room."""
        await self._room.acquire()

    def taken(self) -> None:
        """The other side took one message."""
        self._room.release()
