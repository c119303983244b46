"""Measuring what training made: predictions first, then figures with their uncertainty."""
