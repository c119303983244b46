"""``python -m training``: ``cxr-train`` for launchers that want a module.

``torchrun --nproc-per-node 8 -m -- training sft --run RUN``: the two dashes keep the launcher from
taking ``--run`` for an option of its own.
"""

from __future__ import annotations

import os
import sys

from training.cli import main


def leave(code: int) -> None:
    """End the process; among peers, without Python's own farewell.

    A thread of the process group that asks for the interpreter's lock during that farewell is ended
    by Python, which C++ takes for a fault: the process aborts though its work is done and stored.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


leave(main())
