"""How a page is computed, cached, evicted and checked.

Begin with `details`, the read path: the process cache (`memory`), Redis, PostgreSQL. `listener` evicts the pages that
notifications name, `refresher` keeps the materialized view up to date, `warming` reads hot pages before anyone requests
them, `sampler` compares served pages with the database, `explanation` tells why a page is as it is.
"""
