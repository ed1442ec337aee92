"""`headstock pull`: everything about a backbone in one publication, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstock.backbone import pull as pull_module
from headstock.backbone.pull import pull
from headstock.catalogue import Catalogue
from headstock.digest import digest_file
from headstock.errors import (
    AlreadyExists,
    Corrupt,
    FailedPrecondition,
    HeadstockError,
    InvalidInput,
    NotFound,
    PluginError,
)
from headstock.hookspecs import BackboneFamily
from headstock.names import Reference
from headstock.plugin_host import PluginHost, open_host
from headstock.records import Version, artefact_of
from headstock.servable import load_backbone
from headstock.testing.hub import COMMIT, LocalHub, Repository
from headstock.testing.tiny import make_tiny_bert


def newest(catalogue: Catalogue, name: str = "tiny") -> Version:
    return catalogue.version(Reference(name))


def edges(catalogue: Catalogue, version: Version) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for edge in catalogue.edges(child=version.subject):
        found.setdefault(edge.relation, []).append(catalogue.artefact(edge.parent).identity)
    return found


def test_the_backbone_is_servable_and_its_files_are_the_sources(
    tiny_catalogue: Catalogue, tiny_checkpoint: Path
) -> None:
    version = newest(tiny_catalogue)
    backbone = load_backbone(tiny_catalogue, version.subject)
    backbone.require_shared()
    files = tiny_catalogue.artefact(version.subject).files
    assert set(files) == {"graph", "weights", "config", "preprocess", "tokenizer", "certificate", "licence", "card"}
    assert files["weights"] == digest_file(tiny_checkpoint / "model.safetensors")
    assert [tap.name for tap in backbone.identity.taps] == ["tokens", "cls", "mean"]
    assert tiny_catalogue.verify().clean


def test_the_version_says_where_it_came_from_and_what_made_it(tiny_catalogue: Catalogue, tiny_checkpoint: Path) -> None:
    version = newest(tiny_catalogue)
    details = version.details
    assert (version.number, version.kind) == (1, "backbone")
    assert details["source"] == "path:tiny-bert"
    assert details["files"] == {p.name: digest_file(p) for p in tiny_checkpoint.iterdir()}
    assert details["family"] == "bert"
    assert set(details["versions"]) == {"headstock", "torch", "transformers", "onnxruntime"}
    assert str(tiny_checkpoint.parent) not in json.dumps(details)


def test_lineage_names_the_source_and_the_plugin(tiny_catalogue: Catalogue) -> None:
    found = edges(tiny_catalogue, newest(tiny_catalogue))
    plugin = found["built_by_plugin"][0]
    assert plugin["distribution"] == "headstock"
    said = tiny_catalogue.evidence(artefact_of("plugin", plugin).digest)
    assert {(s.value, s.scope) for s in said} == {("Apache-2.0", "code")}
    assert found["converted_from"][0]["spec"] == "path:tiny-bert"
    assert "finetuned_from" not in found


def test_the_certificate_holds_the_proofs(tiny_catalogue: Catalogue) -> None:
    version = newest(tiny_catalogue)
    certificate = tiny_catalogue.certificate(version.subject)
    assert certificate is not None
    assert certificate.shared
    assert certificate.measured == 0.0
    assert set(certificate.detail["parity"]) == {"tokens", "cls", "mean"}
    stored = tiny_catalogue.store.read_json(tiny_catalogue.artefact(version.subject).files["certificate"])
    assert stored["measured"] == 0.0


def test_the_same_backbone_again_is_the_same_version_without_another_export(
    tiny_catalogue: Catalogue, tiny_checkpoint: Path
) -> None:
    steps: list[str] = []
    source = f"path:{tiny_checkpoint}"
    again = pull(tiny_catalogue, open_host(), source, "tiny", progress=steps.append)
    assert again == newest(tiny_catalogue)
    assert not any("exporting" in step for step in steps)


def test_another_source_of_the_same_weights_is_the_same_backbone(
    tiny_catalogue: Catalogue, tiny_checkpoint: Path, hub: LocalHub
) -> None:
    """The digest covers what the backbone computes, not where it was found or how its file is laid out."""
    hub.repositories["acme/tiny"] = Repository(tiny_checkpoint, card_data={"license": "mit"})
    other = pull(tiny_catalogue, open_host(), "hf:acme/tiny", "from-hub")
    assert other.subject == newest(tiny_catalogue).subject
    assert (other.details["source"], other.details["commit"]) == (f"hf:acme/tiny@{COMMIT}", COMMIT)
    assert other.details["reused"]
    assert len(edges(tiny_catalogue, other)["converted_from"]) == 2
    licences = {(e.source, e.value) for e in tiny_catalogue.evidence(other.subject) if e.field == "licence"}
    assert licences == {("hub-tag", "MIT"), ("card", "Apache-2.0"), ("licence-file", "NOASSERTION")}


def test_weights_in_another_layout_or_precision_of_the_file_have_the_same_digest(
    tiny_catalogue: Catalogue, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "reordered"))
    tensors = load_file(folder / "model.safetensors")
    save_file({f"bert.{k}": tensors[k].double() for k in reversed(list(tensors))}, folder / "model.safetensors")
    again = pull(tiny_catalogue, open_host(), f"path:{folder}", "reordered")
    assert again.subject == newest(tiny_catalogue).subject


def test_other_weights_are_the_next_version_with_its_parent(tiny_catalogue: Catalogue, tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "tiny-bert", seed=1, hidden=16, layers=1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "acme/parent"}))
    version = pull(tiny_catalogue, open_host(), f"path:{folder}", "tiny")
    assert version.number == 2
    assert version.subject != tiny_catalogue.version(Reference("tiny", "1")).subject
    assert edges(tiny_catalogue, version)["finetuned_from"] == [{"kind": "source", "spec": "hf:acme/parent"}]


def test_a_damaged_graph_is_healed_by_pulling_again(tiny_catalogue: Catalogue, tiny_checkpoint: Path) -> None:
    version = newest(tiny_catalogue)
    path = tiny_catalogue.store.path(tiny_catalogue.artefact(version.subject).files["graph"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(Corrupt):
        load_backbone(tiny_catalogue, version.subject)
    assert pull(tiny_catalogue, open_host(), f"path:{tiny_checkpoint}", "tiny") == version
    load_backbone(tiny_catalogue, version.subject)
    assert tiny_catalogue.verify().clean


# ------------------------------------------------------------------------------------------- refusals
def refused(catalogue: Catalogue, error: type[HeadstockError], said: str, *args: Any, **options: Any) -> None:
    with pytest.raises(error, match=said):
        pull(catalogue, *args, **options)
    assert catalogue.names() == []
    assert catalogue.verify().clean
    leftovers = [p for p in (catalogue.settings.cache / "pull").rglob("*") if p.is_file()]
    assert leftovers == []


def test_a_dead_network_is_not_published(empty_catalogue: Catalogue, tiny_checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "dead"))
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v * 1e-30 for k, v in tensors.items()}, folder / "model.safetensors")
    refused(empty_catalogue, FailedPrecondition, "is dead", open_host(), f"path:{folder}", "dead")


def test_a_checkpoint_with_a_missing_weight_is_not_published(
    empty_catalogue: Catalogue, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "hole"))
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("embeddings.word_embeddings.weight")
    save_file(tensors, folder / "model.safetensors")
    refused(empty_catalogue, InvalidInput, "word_embeddings", open_host(), f"path:{folder}", "hole")


def test_a_name_is_checked_before_anything_is_fetched(empty_catalogue: Catalogue) -> None:
    refused(empty_catalogue, InvalidInput, "'My Model' is not allowed", open_host(), "path:/nowhere", "My Model")


def test_an_unknown_family_is_refused_before_anything_is_fetched(empty_catalogue: Catalogue) -> None:
    refused(empty_catalogue, NotFound, "no family 'brt'", open_host(), "path:/nowhere", "x", family="brt")


def test_a_models_name_is_refused_before_anything_is_fetched(
    empty_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Version("taken", 1, "model", "sha256:" + "0" * 64, "2026-01-01T00:00:00Z", {})  # type: ignore[arg-type]
    monkeypatch.setattr(Catalogue, "names", lambda self: ["taken"])
    monkeypatch.setattr(Catalogue, "versions", lambda self, name: [held])
    with pytest.raises(AlreadyExists, match="'taken' is a model"):
        pull(empty_catalogue, open_host(), "path:/nowhere", "taken")


def test_a_missing_library_says_which_extra_has_it(empty_catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_module, "find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(FailedPrecondition, match="needs torch") as caught:
        pull(empty_catalogue, open_host(), "path:/nowhere", "tiny")
    assert caught.value.fix == "pip install 'headstock[train,serve]'"


# --------------------------------------------------------------------------------- families of plugins
class OneFamilyHost:
    """The real host, but every source belongs to one family."""

    def __init__(self, family: BackboneFamily) -> None:
        self._family = family

    def family_for(self, files: Any) -> BackboneFamily:
        return self._family

    def plugin_of_family(self, name: str) -> Any:
        return open_host().plugin_of_family("bert")

    def licence_records(self) -> list[Any]:
        return []

    def manifests(self) -> list[Any]:
        return []


def changed_bert(load: Callable[[Any], Any]) -> PluginHost:
    bert = type(open_host().family("bert"))
    changed = type("Changed", (bert,), {"load": lambda self, files: load(bert.load(self, files))})
    return OneFamilyHost(changed())  # type: ignore[return-value]


def test_a_backbone_that_leaks_between_rows_is_published_but_never_shared(
    empty_catalogue: Catalogue, tiny_checkpoint: Path
) -> None:
    import torch

    class Leaky(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner, self.width = inner, inner.width

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            taps = self.inner(input_ids, attention_mask, token_type_ids)
            return {**taps, "mean": taps["mean"] - taps["mean"].mean(dim=0, keepdim=True)}

    version = pull(empty_catalogue, changed_bert(Leaky), f"path:{tiny_checkpoint}", "leaky")
    certificate = empty_catalogue.certificate(version.subject)
    assert certificate is not None
    assert not certificate.shared
    assert certificate.measured > 1e-2
    assert certificate.detail["measured"]["tokens"] == 0.0
    with pytest.raises(FailedPrecondition, match="may not serve shared batches"):
        load_backbone(empty_catalogue, version.subject).require_shared()


def test_a_family_that_fails_is_named(empty_catalogue: Catalogue, tiny_checkpoint: Path) -> None:
    def explode(module: Any) -> Any:
        raise ZeroDivisionError("oh no")

    said = r"family 'bert' .* failed to load path:tiny-bert: ZeroDivisionError: oh no"
    refused(empty_catalogue, PluginError, said, changed_bert(explode), f"path:{tiny_checkpoint}", "x")


# ------------------------------------------------------------------------------------------ the command
def headstock(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from headstock.cli.main import main; main()", *arguments],
        env={**os.environ, "HEADSTOCK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_tells_steps_on_stderr_and_the_result_on_stdout(tiny_home: Path, tiny_checkpoint: Path) -> None:
    done = headstock(tiny_home, "pull", f"path:{tiny_checkpoint}", "--name", "tiny2")
    assert done.returncode == 0, done.stderr
    steps = done.stderr.splitlines()
    assert steps[0] == f"fetching path:{tiny_checkpoint}"
    assert steps[1] == "loading with family bert"
    assert steps[-1] == "publishing"
    lines = done.stdout.splitlines()
    assert lines[0].startswith("tiny2:1  ")
    assert any(line.startswith("parity ") for line in lines)
    assert "certificate  alone and together bit-equal (CPUExecutionProvider): may share batches" in lines
    assert "licence      Apache-2.0  (card: path:tiny-bert/README.md)" in lines


def test_an_error_of_the_command_is_two_lines_and_its_exit_code(tiny_home: Path) -> None:
    done = headstock(tiny_home, "pull", "acme/tiny", "--name", "x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-2:] == [
        "error: source 'acme/tiny' is not understood; expected hf:ORG/NAME[@REVISION], path:DIR or package:MODULE",
        "try:   hf:acme/tiny",
    ]
