"""Published collections in their published layouts, read into the catalog's films."""
