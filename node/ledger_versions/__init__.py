"""The revisions of the ledger, oldest first; `node.upgrades` applies them."""
