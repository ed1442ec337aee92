"""`hf:` sources, against a local hub that the real client talks to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headstock.digest import digest_file
from headstock.errors import Corrupt, FailedPrecondition, HeadstockError, InvalidInput, NotFound, Unavailable
from headstock.sources import fetch
from headstock.testing.hub import COMMIT, LocalHub, Repository


@pytest.fixture
def repository(hub: LocalHub, tiny_checkpoint: Path, tmp_path: Path) -> Repository:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "repository"))
    hub.repositories["acme/tiny"] = Repository(folder, card_data={"license": "mit"})
    return hub.repositories["acme/tiny"]


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_the_revision_is_resolved_to_a_commit_and_every_file_hashed(repository: Repository, workdir: Path) -> None:
    fetched = fetch("hf:acme/tiny@main", workdir)
    assert fetched.label == f"hf:acme/tiny@{COMMIT}"
    assert fetched.commit == COMMIT
    assert fetched.digests == {p.name: digest_file(p) for p in repository.folder.iterdir()}
    assert fetched.files.config["model_type"] == "bert"
    assert digest_file(workdir / "model.safetensors") == fetched.digests["model.safetensors"]


def test_pickle_and_code_are_never_asked_for(hub: LocalHub, repository: Repository, workdir: Path) -> None:
    for name in ("pytorch_model.bin", "modeling.py", "weights.pt", "onnx/model.onnx", "sub/model.safetensors"):
        (repository.folder / name).parent.mkdir(exist_ok=True)
        (repository.folder / name).write_bytes(b"x")
    fetched = fetch("hf:acme/tiny", workdir)
    asked = "\n".join(hub.requests)
    assert not any(word in asked for word in (".bin", ".py", ".pt", ".onnx", "sub/"))
    assert set(fetched.digests) == {p.name for p in workdir.iterdir()}


def test_a_second_fetch_uses_the_cache(hub: LocalHub, repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = fetch("hf:acme/tiny", tmp_path / "one")
    hub.requests.clear()
    assert fetch("hf:acme/tiny", tmp_path / "two").digests == first.digests
    assert [r for r in hub.requests if "resolve" in r] == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_changed_body_of_the_right_size_is_found_and_does_not_stay_in_the_cache(
    repository: Repository, tmp_path: Path, name: str
) -> None:
    """The hub client itself accepts it without a word, for large files and small ones."""
    repository.corrupt.add(name)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with pytest.raises(Corrupt, match=f"'{name}' of 'acme/tiny' is not what the hub states"):
        fetch("hf:acme/tiny", tmp_path / "one")
    repository.corrupt.clear()
    fetched = fetch("hf:acme/tiny", tmp_path / "two")
    assert fetched.digests[name] == digest_file(repository.folder / name)


def test_a_cache_that_rotted_is_found_too(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    fetch("hf:acme/tiny", tmp_path / "one")
    blob = (tmp_path / "one" / "model.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(Corrupt, match=r"model\.safetensors"):
        fetch("hf:acme/tiny", tmp_path / "two")


def test_the_hub_tag_and_the_card_are_two_statements(repository: Repository, workdir: Path) -> None:
    found = {s.source: s for s in fetch("hf:acme/tiny", workdir).statements if s.field == "licence"}
    assert found["hub-tag"].value == "MIT"
    assert found["card"].value == "Apache-2.0"
    assert found["card"].locator == f"hf:acme/tiny@{COMMIT}/README.md"


def test_a_hub_that_tags_no_licence_says_noassertion(repository: Repository, workdir: Path) -> None:
    repository.card_data = {}
    found = {s.source: s.value for s in fetch("hf:acme/tiny", workdir).statements}
    assert found["hub-tag"] == "NOASSERTION"


@pytest.mark.parametrize(
    "source, error, said",
    [
        ("hf:acme/none", NotFound, "no repository 'acme/none'"),
        ("hf:acme/tiny@v9", NotFound, "'acme/tiny' has no revision 'v9'"),
        ("hf:acme/tiny/more", InvalidInput, "expected hf:ORG/NAME"),
        ("hf:", InvalidInput, "expected hf:ORG/NAME"),
    ],
)
def test_what_is_not_there_is_said_in_the_users_words(
    repository: Repository, workdir: Path, source: str, error: type[HeadstockError], said: str
) -> None:
    with pytest.raises(error, match=said):
        fetch(source, workdir)


def test_a_gated_repository_says_what_to_do(repository: Repository, workdir: Path) -> None:
    repository.gated = True
    with pytest.raises(FailedPrecondition, match="gated") as caught:
        fetch("hf:acme/tiny", workdir)
    assert caught.value.fix is not None
    assert "hf auth login" in caught.value.fix


def test_a_hub_that_fails_or_is_not_there_is_unavailable(
    repository: Repository, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.failures = 1
    with pytest.raises(Unavailable, match="did not answer for 'acme/tiny'"):
        fetch("hf:acme/tiny", workdir)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="did not answer"):
        fetch("hf:acme/tiny", workdir)


def test_a_repository_with_pickled_weights_only_is_refused_before_any_download(
    hub: LocalHub, repository: Repository, workdir: Path
) -> None:
    (repository.folder / "model.safetensors").rename(repository.folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"no \*\.safetensors weights; \['pytorch_model\.bin'\] may run code"):
        fetch("hf:acme/tiny", workdir)
    assert not any("resolve" in request for request in hub.requests)
