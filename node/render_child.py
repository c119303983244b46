"""The inside of the process that decodes pixels: it may take so much memory and time, and no more.

Decoders are C code that strangers feed. Here a film that makes one of them crash, loop or swell
takes this process with it, and nothing else. Requests come as JSON lines on standard input;
answers go to standard output: `ANSWER`, then an image (little-endian float32, or PNG), or a reason
as JSON. The parent reads nothing that could make it execute anything.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from engine.banner import burn
from engine.decode import NO_MEMORY
from engine.errors import PixelError
from engine.pixels import Transform, display, render
from node.logs import silence_libraries
from node.rules import is_synthetic

_MORE_MEMORY = "raise node.work.decode_memory_mb if the film is right"
ANSWER = struct.Struct("<?L")
"""Whether it is an image, and how many bytes follow."""


def confine(memory_bytes: int) -> None:
    """Limit this process: memory, no files written, no core dumped."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def allow_seconds(cpu_s: int) -> None:
    """Let the next film take so many seconds of processor time; the kernel ends us after that."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = int(usage.ru_utime + usage.ru_stime)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (spent_s + cpu_s + 1, hard))


def answer(request: Mapping[str, Any]) -> tuple[bool, bytes]:
    """Render one film."""
    try:
        ds = dcmread(Path(request["path"]))
        return True, _rendered(ds, request)
    except PixelError as error:
        return False, json.dumps({"reason": str(error), "hint": error.hint}).encode()
    except (OSError, InvalidDicomError):
        return False, json.dumps({"reason": "the file cannot be read", "hint": ""}).encode()
    except MemoryError:
        return False, json.dumps({"reason": NO_MEMORY, "hint": _MORE_MEMORY}).encode()


def _rendered(ds: Dataset, request: Mapping[str, Any]) -> bytes:
    """Return the model's image as float32, or a PNG for people where `max_side` is asked for.

    People see no synthetic film without its banner, whatever page it is cut out of.
    """
    if "max_side" not in request:
        image = render(ds, Transform.from_json(request["transform"]))
        return image.astype("<f4", copy=False).tobytes()
    film = display(ds, int(request["max_side"]))
    if is_synthetic(ds):
        film = burn(film, max(film.shape))
    png = BytesIO()
    PilImage.fromarray(film).save(png, format="PNG")
    return png.getvalue()


def main() -> None:
    """Answer until standard input ends."""
    memory_mb, cpu_s = map(int, sys.argv[1:3])
    silence_libraries()
    np.seterr(all="ignore")
    confine(memory_mb * 1024 * 1024)
    for line in sys.stdin.buffer:
        allow_seconds(cpu_s)
        is_image, content = answer(json.loads(line))
        os.write(sys.stdout.fileno(), ANSWER.pack(is_image, len(content)))
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
