"""``python -m training``: ``cxr-train`` for launchers that want a module.

``torchrun --nproc-per-node 8 -m -- training sft --run RUN``: the two dashes keep the launcher from
taking ``--run`` for an option of its own.
"""

from __future__ import annotations

import sys

from training.cli import main

sys.exit(main())
