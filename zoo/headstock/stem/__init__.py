"""The lower part that partly fine-tuned backbones have in common: found, cut off, proven, recorded."""
