"""One signed folder: OpenSSF model signing with an elliptic-curve key, the signature inside as `model.sig`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headstock.errors import Corrupt, InvalidInput, NotFound, Unsupported

if TYPE_CHECKING:
    from model_signing import hashing

SIGNATURE = "model.sig"
"""Name of the signature's file: a Sigstore bundle with an in-toto statement of every file's SHA-256."""

_MAKE_KEY = "openssl ecparam -name prime256v1 -genkey -noout -out KEY.pem; openssl ec -in KEY.pem -pubout -out KEY.pub"
_INSTALL = "pip install model-signing pyOpenSSL"


def sign_folder(folder: Path, key: Path) -> Path:
    """Sign every file of a folder with a private key (PEM, P-256, P-384 or P-521) and write `model.sig` into it.

    Raises `InvalidInput` for what is no such key, `NotFound` for no file, `Unsupported` without the library.
    """
    check_key(key, private=True)
    try:
        from model_signing import signing
    except ImportError as error:
        raise Unsupported(f"signing needs model-signing: {error}", fix=_INSTALL) from error
    signature = folder / SIGNATURE
    config = signing.Config().set_hashing_config(_hashing()).use_elliptic_key_signer(private_key=key)  # type: ignore[no-untyped-call]
    config.sign(folder, signature)
    return signature


def verify_folder(folder: Path, key: Path) -> None:
    """Raise `Corrupt` unless every file of the folder, and no other, is as the owner of the public key signed it.

    Reads every byte. Raises `NotFound` for a folder or key that is missing, `InvalidInput` for what is no public key.
    """
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise NotFound(
            f"the folder {folder.name!r} holds no {SIGNATURE}", fix="headstock sign NAME --key KEY --out DIR"
        )
    check_key(key, private=False)
    try:
        from model_signing import verifying
    except ImportError as error:
        raise Unsupported(f"verifying needs model-signing: {error}", fix=_INSTALL) from error
    config = verifying.Config().set_hashing_config(_hashing()).use_elliptic_key_verifier(public_key=key)  # type: ignore[no-untyped-call]
    try:
        config.verify(folder, signature)
    except Exception as error:
        # The library raises whatever its parsers raise on bytes it does not like; all of it means "not verified".
        raise Corrupt(f"the signature does not hold for {folder.name!r}: {_reason(error, folder)}") from error


def _hashing() -> hashing.Config:
    """One digest per file; nothing is left out but the signature itself, files of git included."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)  # type: ignore[no-untyped-call]


def _reason(error: Exception, folder: Path) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.replace(f"{folder}/", "").replace(str(folder), folder.name)[:500]


def check_key(path: Path, *, private: bool) -> None:
    """Say what is wrong with a key before the library does it in its own words: `NotFound` or `InvalidInput`."""
    what = "private" if private else "public"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(f"the {what} key {path.name!r} cannot be read: {error.strerror}", fix=_MAKE_KEY) from error
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise Unsupported(f"signatures need cryptography: {error}", fix=_INSTALL) from error
    expected: type[ec.EllipticCurvePrivateKey] | type[ec.EllipticCurvePublicKey]
    expected = ec.EllipticCurvePrivateKey if private else ec.EllipticCurvePublicKey
    try:
        key = serialization.load_pem_private_key(data, None) if private else serialization.load_pem_public_key(data)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{path.name!r} is no {what} key in PEM without a password", fix=_MAKE_KEY) from error
    if not isinstance(key, expected):
        raise InvalidInput(f"{path.name!r} is no elliptic-curve {what} key", fix=_MAKE_KEY)
