"""First schema: everything a catalogue of backbones and models needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table, and the one row that writers queue up on."""
    op.create_table(
        "alias_history",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("previous", sa.Integer(), nullable=True),
        sa.Column("at", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alias_history"),
    )
    op.create_index("ix_alias_history_name", "alias_history", ["name", "alias"], unique=False)
    op.create_table(
        "artefacts",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_artefacts"),
    )
    op.create_table(
        "entries",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("next_version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_entries"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=71), nullable=False),
        sa.Column("hash", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("digests", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leases"),
    )
    op.create_table(
        "state",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=71), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_state"),
    )
    op.create_table(
        "certificates",
        sa.Column("backbone", sa.String(length=71), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("tolerance", sa.Float(), nullable=False),
        sa.Column("measured", sa.Float(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["backbone"], ["artefacts.digest"], name="fk_certificates_backbone"),
        sa.PrimaryKeyConstraint("backbone", "provider", name="pk_certificates"),
    )
    op.create_table(
        "edges",
        sa.Column("child", sa.String(length=71), nullable=False),
        sa.Column("relation", sa.String(length=32), nullable=False),
        sa.Column("parent", sa.String(length=71), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child"], ["artefacts.digest"], name="fk_edges_child"),
        sa.ForeignKeyConstraint(["parent"], ["artefacts.digest"], name="fk_edges_parent"),
        sa.PrimaryKeyConstraint("child", "relation", "parent", name="pk_edges"),
    )
    op.create_index("ix_edges_parent", "edges", ["parent"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(length=71), nullable=False),
        sa.Column("subject", sa.String(length=71), nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("locator", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["subject"], ["artefacts.digest"], name="fk_evidence_subject"),
        sa.PrimaryKeyConstraint("id", name="pk_evidence"),
    )
    op.create_index("ix_evidence_subject", "evidence", ["subject"], unique=False)
    op.create_table(
        "files",
        sa.Column("artefact", sa.String(length=71), nullable=False),
        sa.Column("role", sa.String(length=128), nullable=False),
        sa.Column("blob", sa.String(length=71), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("implied", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["artefact"], ["artefacts.digest"], name="fk_files_artefact"),
        sa.PrimaryKeyConstraint("artefact", "role", name="pk_files"),
    )
    op.create_index("ix_files_blob", "files", ["blob"], unique=False)
    op.create_table(
        "versions",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=71), nullable=False),
        sa.Column("backbone", sa.String(length=71), nullable=False),
        sa.Column("created_at", sa.String(length=20), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["backbone"], ["artefacts.digest"], name="fk_versions_backbone"),
        sa.ForeignKeyConstraint(["name"], ["entries.name"], name="fk_versions_name"),
        sa.ForeignKeyConstraint(["subject"], ["artefacts.digest"], name="fk_versions_subject"),
        sa.PrimaryKeyConstraint("name", "number", name="pk_versions"),
    )
    op.create_index("ix_versions_backbone", "versions", ["backbone"], unique=False)
    op.create_index("ix_versions_subject", "versions", ["subject"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"], name="fk_aliases_name"),
        sa.PrimaryKeyConstraint("name", "alias", name="pk_aliases"),
    )
    genesis = "sha256:" + "0" * 64
    op.execute(f"INSERT INTO state (id, generation, events, head) VALUES (1, 0, 0, '{genesis}')")
