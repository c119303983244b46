"""The `node.alerts` section: from when on somebody should look, and who is told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from node.config_outputs import HttpSettings
from node.config_section import Seconds, Section

Share = Annotated[float, Field(gt=0, le=1)]


class AlertSettings(Section):
    """Thresholds; None switches an alert off. Certificates: `node.tls.warn_days`."""

    queue_age_s: Seconds | None = 300.0
    disk_free_percent: Annotated[float, Field(gt=0, lt=100)] | None = 10.0
    destination_down_s: Seconds | None = 900.0
    failed_share: Share | None = 0.2
    drift: Annotated[float, Field(gt=0, le=100)] | None = 0.25
    webhook: HttpSettings = HttpSettings()
