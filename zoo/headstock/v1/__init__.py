"""Generated code of Headstock's own services; see scripts/protos.py."""
