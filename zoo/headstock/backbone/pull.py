"""Bring a backbone into the catalogue: fetch, load, export, prove, and publish in one transaction."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from headstock.backbone.prepare import Prepared, Progress
from headstock.backbone.workdir import workdir
from headstock.digest import Digest, short
from headstock.errors import AlreadyExists, Corrupt, FailedPrecondition, HeadstockError, NotFound, PluginError
from headstock.hookspecs import BackboneFamily
from headstock.names import check_name
from headstock.preprocess import PreprocessSpec
from headstock.providers import PROVIDER
from headstock.records import Artefact, Edge, Publication, Version, artefact_of
from headstock.sources import Fetched, fetch
from headstock.sources.plugin_code import code_evidence

if TYPE_CHECKING:
    import torch

    from headstock.catalogue import Catalogue
    from headstock.plugin_host import PluginHost
    from headstock.records import BackboneIdentity

_NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime")


def pull(
    catalogue: Catalogue,
    host: PluginHost,
    source: str,
    name: str,
    *,
    family: str | None = None,
    progress: Progress | None = None,
) -> Version:
    """Publish the backbone that `source` holds as the next version of `name`; the newest one if it is the same.

    `family` names the family when several recognise the source. A backbone whose rows depend on their neighbours is
    published too, with a certificate that keeps it out of shared batches. Raises the errors of `fetch`, of the
    family, and `FailedPrecondition` when the export disagrees with torch; nothing is published then.
    """
    step = progress or _ignore
    started = time.monotonic()
    check_name(name)
    _check_kind(catalogue, name)
    _require_libraries()
    if family:
        host.plugin_of_family(family)
    with workdir(catalogue.settings.cache / "pull") as folder, catalogue.writing(f"pull {name}"):
        step(f"fetching {source}")
        fetched = _with_plugins_words(catalogue, fetch(source, folder), host)
        chosen = host.family(family) if family else host.family_for(fetched.files)
        step(f"loading with family {chosen.name}")
        module, identity, spec = _load(chosen, fetched)
        digest = artefact_of("backbone", identity.to_json()).digest
        prepared = _known(catalogue, digest)
        if prepared is None:
            prepared = _prepare(catalogue, chosen, fetched, module, identity, spec, step)
            reused = False
        else:
            step(f"backbone {short(digest)} is known: its graph and certificate are used again")
            reused = True
        details = _details(fetched, chosen, prepared, module, started, reused)
        step("publishing")
        return catalogue.publish(_publication(name, fetched, prepared, host, chosen, details))


def _with_plugins_words(catalogue: Catalogue, fetched: Fetched, host: PluginHost) -> Fetched:
    """What plugins know about this source stands beside what the source itself says."""
    from headstock.licences.adoption import adopt
    from headstock.licences.plugin_statements import named, plugin_statements, preset_records

    manifests = host.manifests()
    records = [*named(host.licence_records(), fetched.label), *preset_records(manifests, fetched.label)]
    adopt(catalogue, [record.licence for record in records], [manifest.package for manifest in manifests])
    said = plugin_statements(records, fetched.label)
    # A manifest and a hook may say the same twice.
    return replace(fetched, statements=(*fetched.statements, *dict.fromkeys(said)))


def _load(family: BackboneFamily, fetched: Fetched) -> tuple[torch.nn.Module, BackboneIdentity, PreprocessSpec]:
    """The module in eval mode with its identity. What is not a domain error is the family's fault and says so."""
    from headstock.backbone.identity import identify

    # Progress bars of loaders belong to a terminal, not to a library call.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        module = family.load(fetched.files)
        module.eval()
        spec = family.preprocess(fetched.files)
        return module, identify(family, fetched.files, module, spec), spec
    except HeadstockError:
        raise
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise PluginError(
            f"family {family.name!r} ({type(family).__module__}) failed to load {fetched.label}: "
            f"{type(error).__name__}: {first_line}"
        ) from error


def _known(catalogue: Catalogue, digest: Digest) -> Prepared | None:
    """The backbone as the catalogue has it, if every file verifies and it has a certificate."""
    from headstock.backbone.parity import TapParity

    try:
        artefact = catalogue.artefact(digest)
        for blob in artefact.files.values():
            catalogue.store.check(blob)
    except (NotFound, Corrupt):
        # Missing or damaged: exporting again makes the same bytes and heals the store.
        return None
    certificate = catalogue.certificate(digest, PROVIDER["cpu"])
    if certificate is None or "graph" not in artefact.files:
        return None
    parity = {name: TapParity(**found) for name, found in certificate.detail.get("parity", {}).items()}
    return Prepared(artefact, certificate, parity)


def _prepare(
    catalogue: Catalogue,
    family: BackboneFamily,
    fetched: Fetched,
    module: torch.nn.Module,
    identity: BackboneIdentity,
    spec: PreprocessSpec,
    step: Progress,
) -> Prepared:
    from headstock.backbone.prepare import prepare

    files = {**family.files(fetched.files), **fetched.documents}
    missing = sorted(({"weights"} | set(spec.files)) - set(files))
    if missing:
        raise PluginError(f"family {family.name!r} names no file for {missing}; it has {sorted(files)}")
    return prepare(catalogue.store, module, identity, spec, files, fetched.files.root.parent, step)


def _publication(
    name: str,
    fetched: Fetched,
    prepared: Prepared,
    host: PluginHost,
    family: BackboneFamily,
    details: Mapping[str, Any],
) -> Publication:
    backbone = prepared.artefact
    manifest = host.plugin_of_family(family.name)
    plugin = artefact_of(
        "plugin", {"kind": "plugin", "distribution": manifest.distribution, "version": manifest.version}
    )
    origin = artefact_of(
        "source", {"kind": "source", "spec": fetched.label, "commit": fetched.commit, "files": dict(fetched.digests)}
    )
    named = {field: {s.value for s in fetched.statements if s.field == field} for field in ("parent", "tokenizer")}
    parents = [_parent(spec) for spec in sorted(named["parent"])]
    # A parent's terms reach the weights, and its tokenizer with them.
    tokenizers = [_parent(spec) for spec in sorted(named["tokenizer"] - named["parent"])]
    edges = [
        Edge(backbone.digest, "converted_from", origin.digest, fetched.label),
        Edge(backbone.digest, "built_by_plugin", plugin.digest, f"{manifest.distribution} {manifest.version}"),
        *(Edge(backbone.digest, "finetuned_from", p.digest, str(p.identity["spec"])) for p in parents),
        *(Edge(backbone.digest, "uses_tokenizer_of", t.digest, str(t.identity["spec"])) for t in tokenizers),
    ]
    return Publication(
        name=name,
        kind="backbone",
        subject=backbone.digest,
        artefacts=[backbone, plugin, origin, *parents, *tokenizers],
        edges=edges,
        evidence=[*(said.about(backbone.digest) for said in fetched.statements), *code_evidence(plugin)],
        certificates=[prepared.certificate, *prepared.elsewhere],
        details=details,
    )


def _parent(spec: str) -> Artefact:
    # Named by the child's configuration, never fetched: neither its commit nor its files are known.
    return artefact_of("source", {"kind": "source", "spec": spec})


def _details(
    fetched: Fetched,
    family: BackboneFamily,
    prepared: Prepared,
    module: torch.nn.Module,
    started: float,
    reused: bool,
) -> dict[str, Any]:
    return {
        "source": fetched.label,
        "commit": fetched.commit,
        "files": dict(fetched.digests),
        "family": family.name,
        "parameters": sum(p.numel() for p in module.parameters()),
        "parity": {name: asdict(found) for name, found in prepared.parity.items()},
        "reused": reused,
        "seconds": round(time.monotonic() - started, 2),
        "versions": {n: v for n in ("headstock", "torch", "transformers", "onnxruntime") if (v := _version(n))},
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _check_kind(catalogue: Catalogue, name: str) -> None:
    # `publish` checks it too, but only after everything was downloaded and exported.
    held = catalogue.versions(name) if name in catalogue.names() else []
    if held and held[0].kind != "backbone":
        raise AlreadyExists(f"{name!r} is a {held[0].kind} and cannot hold a backbone", fix="choose another --name")


def _require_libraries() -> None:
    missing = [library for library in _NEEDED if find_spec(library) is None]
    if missing:
        raise FailedPrecondition(
            f"pulling a backbone needs {', '.join(missing)}, which this installation does not have",
            fix="pip install 'headstock[train,serve]'",
        )


def _ignore(step: str) -> None:
    """The progress of a caller who does not watch."""
