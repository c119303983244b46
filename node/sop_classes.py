"""The SOP classes and transfer syntaxes that the node speaks, as literal tables (PS3.4, PS3.5)."""

from __future__ import annotations

VERIFICATION = "1.2.840.10008.1.1"

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"

IMAGE_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    FOR_PROCESSING: "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
}
"""Accepted over C-STORE; few on purpose, association set-up costs a context each."""

FILM_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    FOR_PROCESSING,
)
"""The classes of films as modalities make them: what a prior may be."""

SR_CLASSES: tuple[str, ...] = (
    "1.2.840.10008.5.1.4.1.1.88.11",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.88.34",
)
"""Basic Text, Enhanced, Comprehensive and Comprehensive 3D SR Storage."""

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"

UNCOMPRESSED: tuple[str, ...] = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)

TRANSFER_SYNTAXES: dict[str, str] = {
    EXPLICIT_LITTLE: "Explicit VR Little Endian",
    IMPLICIT_LITTLE: "Implicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline (Process 1)",
    "1.2.840.10008.1.2.4.51": "JPEG Extended (Process 2 and 4)",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless, Non-Hierarchical (Process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless, First-Order Prediction (Process 14, SV1)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Lossy (Near-Lossless)",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 (Lossless Only)",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}
"""Accepted for images. Deflated is left out: 260 KB of it can unfold to 512 MB."""

RARER: tuple[str, ...] = tuple(uid for uid in TRANSFER_SYNTAXES if uid not in UNCOMPRESSED)
"""What an object is sent in only where the sender has it so."""
