"""What the networks say of a film: asked once a film, and of all films that wait in one call."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from engine.backends.base import Backend
from engine.guard import Answers, finite_answers
from engine.results import Codes, Image
from engine.scheduler import Scheduler
from engine.vqgan import codes_of_films, refuse_no_numbers

NUM_REMEMBERED = 16


@dataclass(eq=False)
class _Film:
    """A film and what is known of it so far."""

    image: Image
    codes: Codes | None = None
    answers: Answers | None = None


@dataclass
class FilmReader:
    """Encodes and classifies films between the steps of a scheduler."""

    backend: Backend
    scheduler: Scheduler
    _known: OrderedDict[bytes, _Film] = field(default_factory=OrderedDict)
    _waiting: list[_Film] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def codes(self, image: Image) -> Codes:
        """Return the 256 codes of a film.

        Raises
        ------
        GenerationFault
            See `engine.vqgan.codes_of_films`.
        """
        refuse_no_numbers(image)  # a fault of this film alone, not of those it waits with
        film = self._film(image)
        if film.codes is None:
            with self._lock:
                self._waiting.append(film)
        with self.scheduler.between_steps():
            return self._encoded(film) if film.codes is None else film.codes

    def answers(self, image: Image) -> Answers:
        """Return the film classifier's answers.

        Raises
        ------
        GenerationFault
            One of them is no number.
        """
        film = self._film(image)
        with self.scheduler.between_steps():
            if film.answers is None:
                film.answers = finite_answers(self.backend.classify(film.image))
        return film.answers

    def _encoded(self, film: _Film) -> Codes:
        """Encode a film, and with it every other that waits; return its codes.

        Where that comes to nothing, each of the others is encoded when its own turn has come.
        """
        with self._lock:
            waiting = [film, *(one for one in self._waiting if one.codes is None)]
            self._waiting.clear()
        films = list(dict.fromkeys(waiting))
        found = codes_of_films(self.backend, np.stack([one.image for one in films]))
        for one, codes in zip(films, found, strict=True):
            one.codes = codes
        own: Codes = found[0]
        return own

    def _film(self, image: Image) -> _Film:
        """Return what is known of a film; the least recently asked for is forgotten."""
        key = hashlib.blake2b(np.ascontiguousarray(image).data).digest()
        with self._lock:
            film = self._known.setdefault(key, _Film(image))
            self._known.move_to_end(key)
            while len(self._known) > NUM_REMEMBERED:
                self._known.popitem(last=False)
        return film
