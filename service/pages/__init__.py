"""How a page is made, kept, evicted and checked.

Begin with `details`, the read path: the process cache (`memory`), Redis, PostgreSQL. `listener` evicts what a
notification names, `refresher` keeps the materialized view up to date, `warming` reads hot pages before somebody asks,
`sampler` compares what was served with the database.
"""
