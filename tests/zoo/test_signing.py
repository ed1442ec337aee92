"""Signed versions: what is in the folder, that no byte of it can change, and what the policy asks for at load."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("model_signing", reason="pip install model-signing pyOpenSSL")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headstock.catalogue import Catalogue
from headstock.cli.main import main
from headstock.errors import AlreadyExists, Corrupt, InvalidInput, NotFound
from headstock.records import Version
from headstock.settings import Settings
from headstock.signing import SIGN, contents, kept, sign_version, trouble, verify_folder, verify_version
from headstock.testing.publications import backbone_publication, model_publication

DOCUMENTS = ("LICENSE", "NOTICE", "README.md", "bom.cdx.json", "version.json")
BLOBS = (
    "backbone/graph",
    "backbone/preprocess",
    "backbone/tokenizer",
    "backbone/weights",
    "head/parameters",
    "model/recipe",
    "model/report",
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@dataclass(frozen=True)
class Keys:
    """A key pair in PEM files."""

    private: Path
    public: Path


def make_keys(folder: Path, name: str) -> Keys:
    key = ec.generate_private_key(ec.SECP256R1())
    keys = Keys(folder / f"{name}.pem", folder / f"{name}.pub")
    folder.mkdir(parents=True, exist_ok=True)
    keys.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    keys.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return keys


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HEADSTOCK_HOME", str(tmp_path / "home"))
    return Settings.from_environment()


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    with Catalogue.open(settings) as opened:
        backbone = opened.publish(backbone_publication(opened.store, "bert"))
        opened.publish(model_publication(opened.store, "intents", backbone.subject))
        yield opened


@pytest.fixture
def version(catalogue: Catalogue) -> Version:
    return catalogue.newest("intents")


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return make_keys(settings.home, "release")


@pytest.fixture
def folder(catalogue: Catalogue, version: Version, keys: Keys, tmp_path: Path) -> Path:
    sign_version(catalogue, version, keys.private, tmp_path / "signed")
    return tmp_path / "signed"


def flip(path: Path) -> None:
    """Flip one bit in the middle, also of a file that is read-only."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


# ---------------------------------------------------------------------------------------------- the folder
def test_the_folder_holds_weights_head_licence_notice_card_and_bom(folder: Path, keys: Keys) -> None:
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}

    assert found == {*DOCUMENTS, *BLOBS, "model.sig"}
    verify_folder(folder, keys.public)


@pytest.mark.parametrize("name", [*DOCUMENTS, *BLOBS, "model.sig"])
def test_a_flipped_bit_of_any_file_of_the_folder_fails(folder: Path, keys: Keys, name: str) -> None:
    flip(folder / name)

    with pytest.raises(Corrupt, match="the signature does not hold"):
        verify_folder(folder, keys.public)


@pytest.mark.parametrize("name", ["NOTICE", "README.md", "backbone/weights"])
def test_every_byte_of_a_file_counts(folder: Path, keys: Keys, name: str) -> None:
    """The first and the last byte too, and one that is missing or more."""
    path, good = folder / name, (folder / name).read_bytes()
    for changed in (bytes([good[0] ^ 128]) + good[1:], good[:-1] + bytes([good[-1] ^ 1]), good[:-1], good + b"\n"):
        path.write_bytes(changed)
        with pytest.raises(Corrupt):
            verify_folder(folder, keys.public)
    path.write_bytes(good)
    verify_folder(folder, keys.public)


@pytest.mark.parametrize("extra", ["extra.txt", ".gitattributes", ".git/config", "backbone/more"])
def test_a_file_that_nobody_signed_fails(folder: Path, keys: Keys, extra: str) -> None:
    (folder / extra).parent.mkdir(exist_ok=True)
    (folder / extra).write_text("more")

    with pytest.raises(Corrupt):
        verify_folder(folder, keys.public)


@pytest.mark.parametrize("name", ["LICENSE", "head/parameters"])
def test_a_missing_file_fails(folder: Path, keys: Keys, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(Corrupt):
        verify_folder(folder, keys.public)


def test_another_key_fails(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Corrupt):
        verify_folder(folder, make_keys(tmp_path, "other").public)


def test_what_is_no_key_is_said_to_be_none(
    catalogue: Catalogue, version: Version, folder: Path, keys: Keys, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="no public key"):
        verify_folder(folder, keys.private)
    with pytest.raises(InvalidInput, match="no private key"):
        sign_version(catalogue, version, keys.public, tmp_path / "again")
    with pytest.raises(NotFound, match="cannot be read"):
        verify_folder(folder, tmp_path / "none.pub")


def test_a_folder_that_is_not_empty_is_left_alone(
    catalogue: Catalogue, version: Version, folder: Path, keys: Keys
) -> None:
    with pytest.raises(AlreadyExists):
        sign_version(catalogue, version, keys.private, folder)


def test_a_corrupt_store_is_not_signed(catalogue: Catalogue, version: Version, keys: Keys, tmp_path: Path) -> None:
    flip(catalogue.store.path(catalogue.artefact(version.subject).files["recipe"]))

    with pytest.raises(Corrupt, match="holds other bytes"):
        sign_version(catalogue, version, keys.private, tmp_path / "signed")
    assert not (tmp_path / "signed" / "model.sig").exists()


def test_a_folder_may_be_named_from_where_one_stands(
    catalogue: Catalogue, version: Version, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sign_version(catalogue, version, keys.private, Path("out"))

    verify_folder(Path("out"), keys.public)
    flip(Path("out/LICENSE"))
    with pytest.raises(Corrupt):
        verify_folder(Path("out"), keys.public)


# ---------------------------------------------------------------------------------------------- the version
@pytest.mark.parametrize("name", BLOBS)
def test_a_flipped_bit_in_the_store_fails(
    catalogue: Catalogue, version: Version, folder: Path, keys: Keys, name: str
) -> None:
    verify_version(catalogue, version, keys.public)
    flip(catalogue.store.path(contents.blobs(catalogue, version)[name]))

    with pytest.raises(Corrupt):
        verify_version(catalogue, version, keys.public)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_flipped_bit_in_a_kept_document_fails(
    catalogue: Catalogue, version: Version, folder: Path, keys: Keys, settings: Settings, name: str
) -> None:
    flip(settings.home / "signatures" / "intents-1" / name)

    with pytest.raises(Corrupt):
        verify_version(catalogue, version, keys.public)


def test_signing_is_in_the_audit_log(catalogue: Catalogue, version: Version, folder: Path) -> None:
    event = catalogue.events(1)[0]

    assert (event.action, event.subject) == (SIGN, version.subject)
    assert catalogue.audit_faults() == []


# ---------------------------------------------------------------------------------------------- at load
def test_a_signature_by_any_key_of_the_list_counts(
    catalogue: Catalogue, version: Version, folder: Path, keys: Keys, settings: Settings
) -> None:
    make_keys(settings.home, "other")

    assert trouble(catalogue, version, ["other.pub", "release.pub"]) == ""
    assert "does not hold" in trouble(catalogue, version, ["other.pub"])
    assert "names no public key" in trouble(catalogue, version, [])
    assert "does not exist" in trouble(catalogue, version, ["none.pub"])


def test_an_unsigned_version_is_trouble(catalogue: Catalogue, keys: Keys) -> None:
    assert trouble(catalogue, catalogue.newest("bert"), ["release.pub"]) == "bert:1 is not signed"


def test_a_good_answer_is_remembered_until_key_document_or_signature_changes(
    catalogue: Catalogue,
    version: Version,
    folder: Path,
    keys: Keys,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Version] = []

    def counted(of: Catalogue, what: Version, key: Path) -> None:
        asked.append(what)
        verify_version(of, what, key)

    monkeypatch.setattr(kept, "verify_version", counted)
    assert [trouble(catalogue, version, ["release.pub"]) for _ in range(3)] == ["", "", ""]
    assert len(asked) == 1

    flip(settings.home / "signatures" / "intents-1" / "NOTICE")
    assert "does not hold" in trouble(catalogue, version, ["release.pub"])
    assert "does not hold" in trouble(catalogue, version, ["release.pub"])
    assert len(asked) == 3


# ---------------------------------------------------------------------------------------------- the commands
@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["headstock", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out + captured.err

    return command


def test_sign_then_verify_by_name_and_by_folder(
    catalogue: Catalogue, keys: Keys, tmp_path: Path, run: Callable[..., tuple[int, str]]
) -> None:
    out = str(tmp_path / "out")
    code, said = run("sign", "intents", "--key", str(keys.private), "--out", out)
    assert (code, said.splitlines()[-1].startswith("signed intents:1: 12 files")) == (0, True)

    assert run("verify", "intents", "--key", str(keys.public))[0] == 0
    assert run("verify", "--folder", out, "--key", str(keys.public))[0] == 0
    assert run("verify", "intents", "--folder", out, "--key", str(keys.public))[0] == 0
    code, said = run("verify", "bert", "--folder", out, "--key", str(keys.public))
    assert (code, "is of intents:1, not of bert:1" in said) == (1, True)
    flip(tmp_path / "out" / "LICENSE")
    code, said = run("verify", "--folder", out, "--key", str(keys.public))
    assert (code, "does not hold" in said, str(tmp_path) in said) == (1, True, False)


def test_verify_without_a_key_checks_the_catalogue_as_before(
    catalogue: Catalogue, run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run("verify", "--format", "json")

    assert (code, json.loads(said)[0]["clean"]) == (0, True)
    assert run("verify", "intents")[0] == 2
