"""Who we are in DICOM, and UIDs that come out the same every time they are derived."""

from __future__ import annotations

import uuid

IMPLEMENTATION_CLASS_UID = "2.25.212817353310467912043146285309327046913"
IMPLEMENTATION_VERSION_NAME = "CXRNODE_0_1"
"""At most 16 characters (PS3.7 D.3.3.2)."""

MANUFACTURER = "cxr-node project"
MODEL_NAME = "cxr-node"

_NAMESPACE = uuid.UUID("a01a9e13-6d2c-4c57-9d7f-5b8a5f0be741")


def derive_uid(*parts: str) -> str:
    """Return the UID that belongs to these parts: the same parts, the same UID.

    Each part is written with its length, so that ("ab", "c") and ("a", "bc") differ.

    References
    ----------
    PS3.5 B.2 (UUID derived UID: ``2.25.`` and a decimal integer, at most 44 characters).
    """
    name = "".join(f"{len(part)}:{part}" for part in parts)
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"
