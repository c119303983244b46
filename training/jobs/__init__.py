"""Bulk jobs over films or reports: in chunks, resumable, on one machine or on a Ray cluster."""
