"""The one place where a token is tried: what is wrong is counted, noted, and at last locked out."""

from __future__ import annotations

from node.errors import NodeError
from node.web.security import Doorkeeper, Tokens
from node.web.visits import Visits


class NotAdmitted(NodeError):
    """The token is not known."""

    default_hint = "it stands in the file that node.web.token_file names"

    def __init__(self, wait_s: float = 0.0) -> None:
        reason = "too many wrong tokens came from your address" if wait_s else ""
        super().__init__(reason, hint=f"try again in {wait_s:.0f} s" if wait_s else "")
        self.wait_s = wait_s


class Admission:
    """Tells whose token it is."""

    def __init__(self, tokens: Tokens, doorkeeper: Doorkeeper, visits: Visits) -> None:
        self._tokens = tokens
        self._doorkeeper = doorkeeper
        self._visits = visits

    def admit(self, address: str, token: str) -> str:
        """Return the name of whoever shows a token.

        Raises
        ------
        NotAdmitted
            Nobody has it, or the address is locked out: then no token is looked at.
        """
        wait_s = self._doorkeeper.wait_s(address)
        if wait_s:
            raise NotAdmitted(wait_s)
        name = self._tokens.name_of(token)
        if name is None:
            locked = self._doorkeeper.failed(address)
            self._visits.note("locked out" if locked else "refused", "", address)
            raise NotAdmitted
        self._doorkeeper.succeeded(address)
        return name
