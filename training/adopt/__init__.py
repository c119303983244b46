"""From a shipped bundle back to networks that can be trained on."""
