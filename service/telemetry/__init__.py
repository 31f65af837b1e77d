"""What the service reports about itself: events, metrics, log lines and traces.

Start with `events`: every part of the service reports what happened as an event. Metrics and log lines are derived from
events, and tests wait for them.
"""
