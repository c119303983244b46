"""Preference tuning: a tuned model learns which of two reports is the better one."""
