"""Documents about a version for its receivers: SPDX, model card, and the minimum elements that all of them carry."""
