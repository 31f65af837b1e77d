"""Redis: pages, the leases that guard them, and whether Redis can be trusted at all.

Start with `store`, the commands, and `keys`, which they read and write; `session` decides when they may be used.
`deployment` finds the servers, `primaries` sends each command to the right one. Only this package imports redis-py.
"""
