"""The inference server: transport, data plane, scheduler, engine."""
