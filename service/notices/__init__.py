"""Notices: what happens to sources, told to webhooks. `sending` has the loop that sends what is due."""
