"""First-party plugin for images: families."""
