"""`bin/bench`: what the service costs, each figure the ratio of two things that ran in turn. See `__main__`.

`interval` decides what a figure says, `rows` compares, `busy` watches the machine, `table` prints; others measure.
"""
