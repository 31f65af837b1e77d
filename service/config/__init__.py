"""What an operator sets: environment variables, and what is written in them.

Begin with `settings`. The other modules each know one kind of value: Redis URLs, host patterns, tokens, the key.
"""
