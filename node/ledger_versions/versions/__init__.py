"""One module a revision; each only adds, so that nodes of two versions can share a ledger."""
