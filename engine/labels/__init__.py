"""The tables and the rules behind `engine.labeler`: sections, phrases, cues, attributes."""
