"""Domain adaptation: a head for unlabelled target data, chosen without target labels."""
