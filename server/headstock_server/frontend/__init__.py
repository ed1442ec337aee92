"""Processes that speak gRPC in front of the one that runs models: bytes in, bytes out, nothing parsed twice."""
