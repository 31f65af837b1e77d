"""`rosetta check`: a migration is rehearsed on a copy of a source's published schema. `command` is where it begins."""
