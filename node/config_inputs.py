"""The `node.inputs` section: what a model is given of a study beside its frontal film."""

from __future__ import annotations

from node.config_section import Section


class InputSettings(Section):
    """Which parts may reach a prompt; a bundle that was not trained with one is not given it."""

    lateral: bool = True
    indication: bool = True
    previous_report: bool = False
