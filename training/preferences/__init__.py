"""Preferences: candidates that a model writes, judged, and paired best with worst."""
