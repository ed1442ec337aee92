"""What gRPC itself holds callers to, before any of our code sees a byte."""

from __future__ import annotations

CONCURRENT_RPCS = 4096
"""Calls of one gRPC server at one time."""

_METADATA_BYTES = 16 * 1024


def channel_options(message_bytes: int, *, shared_port: bool = False) -> list[tuple[str, int]]:
    """Options of a gRPC server for requests of up to `message_bytes`; `shared_port` lets several listen on one port."""
    return [
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", 4 * message_bytes),
        # Bit 0 is "identity": a compressed message would be a bomb that is counted only after it went off.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_concurrent_streams", 1024),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        # Two servers on one port would each get half of the calls without a word; front ends of one server may.
        ("grpc.so_reuseport", int(shared_port)),
        ("grpc.max_connection_age_ms", 30 * 60_000),
        ("grpc.max_connection_age_grace_ms", 60_000),
        ("grpc.keepalive_time_ms", 120_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
