"""From films and reports to a checkpoint."""
