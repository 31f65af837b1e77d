"""The console command `rosetta`, one module for each command.

Begin with `main`, which finds the module of a command; `common` has what they share.
"""
