"""What people may do on the pages: three roles, each with all that the one before it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What somebody may do, least first."""

    VIEWER = "viewer"
    """Look at studies and at how the node stands."""
    RADIOLOGIST = "radiologist"
    """Also ask, judge drafts, and draft, send, hurry or give up a study."""
    ADMIN = "admin"
    """Also try peers and rules out, read configuration and log, and keep accounts."""

    def may(self, needed: Role) -> bool:
        """Tell whether this role includes another."""
        order = list(Role)
        return order.index(self) >= order.index(needed)
