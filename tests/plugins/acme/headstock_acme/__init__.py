"""A text encoder of hashed character trigrams, and a head with the hinge loss."""
