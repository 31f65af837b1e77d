"""`bin/bench`: what the service costs, each figure the ratio of two things that ran in turn. See `__main__`."""
