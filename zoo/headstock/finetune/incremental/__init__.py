"""Heads in closed form on cached features: rows and classes are added, and rows erased, without training again."""
