"""`rosetta demo`: the product on embedded servers, for people without any.

Begin with `command`. `servers` starts PostgreSQL and Valkey from their wheels, for the tests as well; the `reaper` ends
them, whatever happens. `story` is what `--check` does, `hints` what a person can try, `shop` and `catalog` the source
databases, `life` what happens in them meanwhile.
"""
