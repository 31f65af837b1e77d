"""Source databases: how they are reached, what they publish, and how that is recorded.

Begin with `connections`, which runs every query to a source. `sync` records what a source publishes; `schedule` syncs
every source in turn; `publication` asks for the published tables while a page is read.
"""
