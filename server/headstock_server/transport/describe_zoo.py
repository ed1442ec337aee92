"""What the catalogue knows, as messages of `headstock.v1`. No actors: who changed what is the operator's to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from headstock.catalogue import views
from headstock.catalogue.listing import Listing
from headstock.v1 import zoo_pb2 as pb
from headstock_server.dataplane.shown import Shown


def entry(shown: Shown) -> pb.Entry:
    """One version in a listing."""
    listing, row, ruling = shown.listing, shown.row, shown.ruling
    state, reason = (row.state, row.reason) if row else _without_row(listing)
    return pb.Entry(
        name=listing.name,
        version=listing.version,
        kind=listing.kind,
        newest=listing.newest,
        aliases=listing.aliases,
        family=listing.family,
        head_type=listing.head,
        backbone=listing.backbone,
        backbone_name=listing.backbone_name,
        own_bytes=listing.own_bytes,
        shared_bytes=listing.shared_bytes,
        licences=listing.licences,
        created_at=listing.created_at,
        state=state,
        reason=reason,
        verdict=ruling.value if ruling else "",
        verdict_reason=ruling.reason if ruling else "",
        proof_id=ruling.proof_id if ruling else "",
    )


def version(description: Mapping[str, Any]) -> pb.ShowResponse:
    """Everything about one version, from `headstock.catalogue.description.describe`."""
    response = pb.ShowResponse(
        name=description["name"],
        version=description["version"],
        kind=description["kind"],
        newest=description["newest"],
        aliases=description["aliases"],
        created_at=description["created_at"],
        digests=description["digests"],
        backbone=_struct(description["backbone"]),
        files=[
            pb.File(part=f["part"], role=f["role"], digest=f["blob"], bytes=f["size"]) for f in description["files"]
        ],
        statements=[_statement(s) for s in (*description["licence"]["statements"], *description["statements"])],
        conflicts=[
            pb.LicenceConflict(subject_kind=c["kind"], subject=c["subject"], values=list(c["values"]))
            for c in description["licence"]["conflicts"]
        ],
        metrics=_struct(description["details"].get("metrics") or {}),
        alias_history=[
            alias_change(views.AliasChange(**change))
            for changes in description["alias_history"].values()
            for change in changes
        ],
    )
    if description["head"] is not None:
        response.head.CopyFrom(_struct(description["head"]))
    certificate = description["certificate"]
    if certificate is not None:
        measured = {key: certificate[key] for key in ("tolerance", "measured", "shared", "provider")}
        response.certificate.CopyFrom(pb.Certificate(**measured))
    return response


def node(tree: Mapping[str, Any]) -> pb.LineageNode:
    """An artefact with all that it was made from."""
    return pb.LineageNode(
        kind=tree["kind"],
        digest=tree["digest"],
        label=tree["label"],
        relation=tree.get("relation", ""),
        note=tree.get("note", ""),
        parents=[node(parent) for parent in tree["parents"]],
    )


def alias_change(change: views.AliasChange) -> pb.AliasChange:
    """One move of an alias."""
    return pb.AliasChange(
        name=change.name,
        alias=change.alias,
        action=change.action,
        version=change.number or 0,
        previous=change.previous or 0,
        at=change.at,
        reason=change.reason,
    )


def event(item: views.Event) -> pb.Event:
    """One entry of the audit log."""
    return pb.Event(id=item.id, at=item.at, action=item.action, subject=item.subject)


def _without_row(listing: Listing) -> tuple[str, str]:
    if listing.kind == "backbone":
        return "", ""
    return "UNAVAILABLE", "this server does not serve it, or has not heard of it yet"


def _statement(item: Mapping[str, Any]) -> pb.Statement:
    return pb.Statement(
        field=item["field"],
        value=item["value"],
        subject_kind=item["kind"],
        subject=item["subject"],
        source=item["source"],
        locator=item["locator"],
        raw=item["raw"],
        scope=item["scope"],
    )


def _struct(value: Mapping[str, Any]) -> Struct:
    # Through JSON, so that tuples and other sequences become lists: a Struct takes nothing else.
    struct = Struct()
    struct.update(json.loads(json.dumps(value)))
    return struct
