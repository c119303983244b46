"""Where the networks run: one protocol, one module a runtime."""
