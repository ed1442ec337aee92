"""First-party plugin for text: families and heads."""
