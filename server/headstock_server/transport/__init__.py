"""gRPC: decode, delegate to the data plane, encode; the only place that knows gRPC codes."""
