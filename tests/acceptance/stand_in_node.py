"""`cxr-node run` with a stand-in for the model: quick to start again, and again.

`python -m tests.acceptance.stand_in_node run -c CONFIG`
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Unpack

from engine.results import DraftReport, Image
from engine.scheduler import Urgency
from engine.study_input import Beside
from node import logs
from node.app import Node
from node.config_file import load_settings
from node.reloading import Source
from node.running import run_until_signalled
from tests.fakes import FakeEngine

_REPORT_S = float(os.environ.get("CXR_STAND_IN_S", "0.2"))


class SlowEngine(FakeEngine):
    """Takes a moment for a report, in which it can be killed."""

    def report(
        self, image: Image, *, urgency: Urgency = Urgency.ROUTINE, **beside: Unpack[Beside]
    ) -> DraftReport:
        time.sleep(_REPORT_S)
        return super().report(image, **beside)


if __name__ == "__main__":
    config = Path(sys.argv[-1])
    settings = load_settings(config, os.environ)
    logs.set_up(settings.node.log_level)
    logs.guard_crashes()
    run_until_signalled(Node(settings, SlowEngine()), Source(config, os.environ))
