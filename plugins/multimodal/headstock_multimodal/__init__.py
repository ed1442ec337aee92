"""First-party plugin for texts and images in one embedding space; stands on the text and vision plugins."""
