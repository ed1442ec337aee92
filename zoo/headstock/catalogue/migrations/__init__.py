"""Alembic migrations of the catalogue; shipped in the package so that an installed wheel can migrate."""
