"""Backbones entering the catalogue: fetch, load, export, prove, publish."""
