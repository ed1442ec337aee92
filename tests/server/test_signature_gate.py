"""Signatures while serving: a policy that requires them refuses what is unsigned, before anything is queued."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

pytest.importorskip("model_signing", reason="pip install model-signing pyOpenSSL")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headstock.catalogue import Catalogue
from headstock.errors import LicenceRefused
from headstock.records import Publication, Version
from headstock.settings import Settings
from headstock.signing import sign_version
from headstock.testing.publications import backbone_publication, model_publication
from headstock_server.repository.licence_gate import LicenceGate, Mode

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def version(tmp_path: Path) -> Version:
    with Catalogue.open(settings(tmp_path)) as catalogue:
        backbone = catalogue.publish(backbone_publication(catalogue.store, "bert"))
        return catalogue.publish(model_publication(catalogue.store, "intents", backbone.subject))


def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"HEADSTOCK_HOME": str(tmp_path / "home")})


def require(catalogue: Catalogue, mode: str) -> None:
    (catalogue.settings.home / "policy.toml").write_text(f'[signature]\nmode = "{mode}"\nkeys = ["release.pub"]\n')


def sign(catalogue: Catalogue, version: Version, out: Path) -> None:
    key, home = ec.generate_private_key(ec.SECP256R1()), catalogue.settings.home
    none = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (home / "release.pem").write_bytes(private)
    (home / "release.pub").write_bytes(public)
    sign_version(catalogue, version, home / "release.pem", out)


def test_an_unsigned_version_is_refused_until_it_is_signed(tmp_path: Path, version: Version) -> None:
    with Catalogue.open(settings(tmp_path)) as catalogue:
        require(catalogue, "enforce")
        gate = LicenceGate(catalogue)
        gate.refresh([version])
        with pytest.raises(LicenceRefused, match="requires a signature: intents:1 is not signed") as refused:
            gate.check(version)
        assert refused.value.proof_id.startswith("sha256:")

        sign(catalogue, version, tmp_path / "signed")
        gate.refresh([version])

        gate.check(version)
        assert "signature" not in (gate.ruling(version) or pytest.fail("no ruling")).warning


def test_a_changed_document_is_refused_by_the_next_server(tmp_path: Path, version: Version) -> None:
    with Catalogue.open(settings(tmp_path)) as catalogue:
        require(catalogue, "enforce")
        sign(catalogue, version, tmp_path / "signed")
        LicenceGate(catalogue).check(version)
        notice = catalogue.settings.home / "signatures" / "intents-1" / "NOTICE"
        notice.write_bytes(notice.read_bytes().replace(b"NOTICE", b"notice"))

        with pytest.raises(LicenceRefused, match="does not hold"):
            LicenceGate(catalogue).check(version)


@pytest.mark.parametrize("policy, gate_mode", [("warn", "enforce"), ("enforce", "warn")])
def test_mode_warn_goes_on_and_says_so(tmp_path: Path, version: Version, policy: str, gate_mode: Mode) -> None:
    with Catalogue.open(settings(tmp_path)) as catalogue:
        require(catalogue, policy)
        gate = LicenceGate(catalogue, gate_mode)
        gate.refresh([version])

        gate.check(version)
        ruling = gate.ruling(version)
        assert ruling is not None
        assert "no valid signature" in ruling.warning


def test_without_a_policy_nothing_is_asked(tmp_path: Path, version: Version) -> None:
    with Catalogue.open(settings(tmp_path)) as catalogue:
        gate = LicenceGate(catalogue)
        gate.refresh([version])

        gate.check(version)
        ruling = gate.ruling(version)
        assert ruling is not None
        assert "signature" not in ruling.warning


def test_a_running_server_follows_its_keys(tmp_path: Path) -> None:
    """A key that is replaced or taken away counts no more, and one that comes counts, without a restart."""
    import grpc

    from headstock.oip import open_inference_grpc_pb2 as pb
    from headstock.oip.open_inference_grpc_pb2_grpc import GRPCInferenceServiceStub
    from headstock.testing.toy import publish_toy
    from headstock.v1 import zoo_pb2
    from headstock.v1.zoo_pb2_grpc import ZooStub
    from headstock_server.app import ServeOptions
    from headstock_server.engine import EngineOptions
    from headstock_server.testing import background_server

    request = pb.ModelInferRequest(model_name="intents", raw_input_contents=[b"\x05\x00\x00\x00great"])
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    options = ServeOptions(bind="127.0.0.1:0", engine=EngineOptions(token_budget=64))
    with Catalogue.open(settings(tmp_path)) as catalogue:
        version = publish_toy(catalogue, ("intents",)).models["intents"]
        key = catalogue.settings.home / "release.pub"
        require(catalogue, "enforce")
        sign(catalogue, version, tmp_path / "first")
        good = key.read_bytes()
        with background_server(catalogue.settings, options) as server, grpc.insecure_channel(server.address) as channel:
            stub = GRPCInferenceServiceStub(channel)

            def becomes(wanted: grpc.StatusCode) -> bool:
                end = time.monotonic() + 20
                while (code := stub.ModelInfer.future(request).code()) is not wanted and time.monotonic() < end:
                    time.sleep(0.05)
                return code is wanted

            def told() -> tuple[str, bool, bool, str]:
                found = ZooStub(channel).Provenance(zoo_pb2.ProvenanceRequest(name="intents")).signature
                return found.mode, found.present, found.verified, found.reason

            ok, denied = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
            assert becomes(ok)
            assert told() == ("enforce", True, True, "")
            other = ec.generate_private_key(ec.SECP256R1()).public_key()
            public = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            key.write_bytes(public)
            assert becomes(denied)
            assert told()[:3] == ("enforce", True, False)
            assert "does not hold" in told()[3]
            key.write_bytes(good)
            assert becomes(ok)
            key.unlink()
            assert becomes(denied)


def test_only_the_keys_that_are_asked_for_are_looked_at(tmp_path: Path, version: Version) -> None:
    with Catalogue.open(settings(tmp_path)) as catalogue:
        key = catalogue.settings.home / "release.pub"
        stale = []
        for mode in ("enforce", "off"):
            require(catalogue, mode)
            gate = LicenceGate(catalogue)
            gate.refresh([version])
            assert not gate.is_stale()
            key.write_text(f"another {mode}")
            stale.append(gate.is_stale())
        assert stale == [True, False]


def test_a_signature_is_of_one_version_and_not_of_another_with_the_same_files(tmp_path: Path, version: Version) -> None:
    """The folder names the version; published again under another name, it has no signature."""
    with Catalogue.open(settings(tmp_path)) as catalogue:
        model = catalogue.artefact(version.subject)
        twin = catalogue.publish(Publication("twin", "model", model.digest, [model]))
        require(catalogue, "enforce")
        sign(catalogue, version, tmp_path / "signed")
        gate = LicenceGate(catalogue)
        gate.refresh([version, twin])

        gate.check(version)
        with pytest.raises(LicenceRefused, match="twin:1 is not signed"):
            gate.check(twin)
