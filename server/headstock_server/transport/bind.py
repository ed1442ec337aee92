"""Which addresses the server may listen on: this machine, unless told otherwise in so many words."""

from __future__ import annotations

import ipaddress

from headstock.errors import FailedPrecondition, InvalidInput


def check_bind(address: str, *, insecure: bool, option: str = "--bind") -> str:
    """Return `HOST:PORT` or `unix:PATH` unchanged; raises `InvalidInput` that names the `option` it came by.

    Without TLS and authentication, whoever reaches the port may use every model: other addresses than loopback need
    `insecure`.
    """
    if address.startswith("unix:"):
        return address
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"bind address {address!r} is not HOST:PORT", fix=f"{option} 127.0.0.1:8081")
    if not insecure and not _is_loopback(host.strip("[]")):
        raise InvalidInput(
            f"bind address {address!r} can be reached from other machines, and this server neither encrypts nor "
            "asks who is calling",
            fix=f"{option} 127.0.0.1:PORT, or --insecure-bind if the network around it is trusted",
        )
    return address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_taken(address: str) -> FailedPrecondition:
    """The error for an address that cannot be listened on."""
    return FailedPrecondition(
        f"cannot listen on {address!r}: the port is taken or the address is not of this machine",
        fix="--bind 127.0.0.1:0 takes any free port",
    )
