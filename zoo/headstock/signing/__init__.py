"""Signed model folders (OpenSSF model signing): what is inside, who signed it, and what must be signed to be served."""

from __future__ import annotations

from headstock.signing.folder import SIGNATURE, sign_folder, verify_folder
from headstock.signing.kept import SIGN, is_signed, sign_version, trouble, verify_version

__all__ = [
    "SIGN",
    "SIGNATURE",
    "is_signed",
    "sign_folder",
    "sign_version",
    "trouble",
    "verify_folder",
    "verify_version",
]
