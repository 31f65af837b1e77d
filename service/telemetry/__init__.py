"""What the service says of itself: events, and the metrics, log lines and traces that are made of them.

Begin with `events`: every part of the service tells what happened by an event, and the rest of this package, and the
tests, listen.
"""
