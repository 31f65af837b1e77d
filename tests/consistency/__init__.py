"""A history checker: writers, readers and operators at real processes, and a verdict on every read."""
