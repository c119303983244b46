"""The patient's film before a study, as a draft names it: looked for at peers, read from disk."""

from __future__ import annotations

from collections.abc import Callable

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.drafted import EarlierFilm, Film
from node.ports import PriorSearch
from node.records import Claim, Prior
from node.spool import Spool


class EarlierFilms:
    """Finds earlier films.

    Parameters
    ----------
    priors
        Asks the peers; None where none is to be asked.
    """

    def __init__(self, spool: Spool, priors: PriorSearch | None) -> None:
        self._spool = spool
        self._priors = priors

    def look(
        self, claim: Claim, film: Film, passed: Callable[[str, str], None]
    ) -> EarlierFilm | None:
        """Return the last film before a study, if a peer has one to give in time."""
        if self._priors is None:
            return None
        answer = self._priors.look(claim, film.ds)
        for name in answer.asked:
            passed("queried", name)
        passed("prior", answer.detail)
        return self.known(answer.prior)

    def known(self, prior: Prior | None) -> EarlierFilm | None:
        """Return an earlier film with its header; one that cannot be read is named by date only."""
        return EarlierFilm(prior, self._header(prior)) if prior else None

    def _header(self, prior: Prior) -> Dataset | None:
        if prior.path is None:
            return None
        try:
            return dcmread(self._spool.path(prior.path), stop_before_pixels=True)
        except (OSError, InvalidDicomError):
            return None
