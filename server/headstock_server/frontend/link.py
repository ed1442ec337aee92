"""One end of the connection between a front end and the engine: whole frames in, frames out in few writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

from headstock_server.frontend.frame import HEADER, Kind

OnFrame: TypeAlias = Callable[[Kind, int, bytes], None]


class Link(asyncio.Protocol):
    """A connected socket. Everything here happens on one event loop."""

    def __init__(self, on_frame: OnFrame, on_lost: Callable[[], None]) -> None:
        """`on_frame` gets kind, call and payload; `on_lost` is called once, after the last frame."""
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._socket: asyncio.Transport | None = None
        self._received = bytearray()
        self._outgoing: list[bytes] = []
        self._room = asyncio.Event()
        self._room.set()

    def send(self, kind: Kind, call: int, parts: Sequence[bytes] = ()) -> None:
        """Queue a frame; what one turn of the loop queues leaves in one write. Nothing happens on a lost connection."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(HEADER.pack(sum(map(len, parts)), kind, call))
        self._outgoing += parts

    async def room(self) -> None:
        """Wait while the other side reads slower than this side writes."""
        await self._room.wait()

    def close(self) -> None:
        """Send what is queued and close."""
        self._flush()
        if self._socket is not None:
            self._socket.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._socket = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand over every whole frame."""
        if self._received:
            self._received += data
            data = bytes(self._received) if self._whole(self._received) else b""
            if not data:
                return
            self._received.clear()
        at = 0
        while len(data) - at >= HEADER.size:
            length, kind, call = HEADER.unpack_from(data, at)
            end = at + HEADER.size + length
            if end > len(data):
                break
            self._on_frame(Kind(kind), call, data[at + HEADER.size : end])
            at = end
        self._received += data[at:]

    def connection_lost(self, _: Exception | None) -> None:
        """The other side is gone, or this side closed."""
        self._socket = None
        self._room.set()
        self._on_lost()

    def pause_writing(self) -> None:
        """The socket is full."""
        self._room.clear()

    def resume_writing(self) -> None:
        """The socket has room again."""
        self._room.set()

    @staticmethod
    def _whole(received: bytearray) -> bool:
        # A large message comes in many pieces: copied once, when it is complete.
        return len(received) >= HEADER.size and len(received) >= HEADER.size + HEADER.unpack_from(received)[0]

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._socket is not None and outgoing:
            self._socket.writelines(outgoing)
