"""Generated code of the Open Inference Protocol, in a descriptor pool of its own; see scripts/protos.py."""
