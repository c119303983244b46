"""Questions on films and their answers: one table, two generators, one benchmark."""
