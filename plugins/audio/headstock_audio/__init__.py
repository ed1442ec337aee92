"""First-party plugin for audio: families and the conversion of Mozilla's checkpoints."""
