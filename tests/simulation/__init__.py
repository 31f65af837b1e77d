"""The service's own code over a simulated network, Redis and config database, in virtual time.

What is simulated is servers and network, nothing of the service: redis-py speaks to a Redis that runs the service's Lua
scripts, its Sentinels and its cluster; the listener hears notifications. An event loop whose clock jumps from one event
to the next makes hours of interleavings take minutes, and a seed decides all of them.
"""
