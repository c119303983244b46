"""Every error that the project raises on purpose, as one tree.

The docstring of a class is its default message; ``hint`` says the cure and is printed on a line of
its own.

::

    CxrError
    ├── ConfigError           a setting is wrong
    ├── BundleError           the model bundle cannot be used
    │   ├── BundleMissing
    │   ├── BundleCorrupt
    │   └── BundleIncompatible
    ├── PixelError            an image cannot be read or rendered
    ├── CheckpointError       training state cannot be read
    ├── PromptError           a prompt cannot be built from what was given
    ├── TaskError             a task cannot be put with what was given
    └── EngineError           the model could not answer
        ├── BackendUnavailable
        └── GenerationFault
"""

from __future__ import annotations


class CxrError(Exception):
    """Something went wrong."""

    default_hint = ""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.hint = hint or self.default_hint

    def lines(self) -> str:
        """Return the message, with its hint (if any) on a second line."""
        return f"{self}\nhint: {self.hint}" if self.hint else str(self)


class ConfigError(CxrError):
    """The configuration is not valid."""

    default_hint = "run `cxr-node check` for the whole list"


class BundleError(CxrError):
    """The model bundle cannot be used."""


class BundleMissing(BundleError):
    """There is no model bundle at the given path."""

    default_hint = "point `engine.bundle` at a directory that holds bundle.json"


class BundleCorrupt(BundleError):
    """A file of the model bundle is not the one that bundle.json names."""

    default_hint = "copy the bundle again; its files must never be edited"


class BundleIncompatible(BundleError):
    """The model bundle was made for another version of this software."""

    default_hint = "export the checkpoint again with `cxr-export bundle`"


class PixelError(CxrError):
    """The pixels of the image cannot be read."""

    default_hint = "ask the sender for an uncompressed copy of the image"


class CheckpointError(CxrError):
    """A checkpoint cannot be read."""


class PromptError(CxrError):
    """The prompt cannot be built."""


class TaskError(CxrError):
    """The task cannot be put with what was given."""

    default_hint = "`cxr ask --list-tasks` says what each task takes"


class EngineError(CxrError):
    """The model could not answer."""


class BackendUnavailable(EngineError):
    """The inference backend cannot run on this machine."""

    default_hint = "set `engine.backend: auto` to fall back to the next one"


class GenerationFault(EngineError):
    """The model produced numbers that are not usable."""

    default_hint = "no draft was made; run `cxr bench` to test the machine"
