"""Source databases: how they are reached, what they publish, and how that is recorded.

Begin with `connections`, through which everything here asks a source. `sync` records what a source publishes;
`schedule` has every source synced in turn; `publication` asks for the published tables while a page is read.
"""
