"""Instruction rows for the tasks of `engine.tasks`: from films, reports and public formats."""
