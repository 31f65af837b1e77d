"""The console command `rosetta`, one module for each command.

Begin with `main`, which finds the module of a command. They share `workbench` (the parts of the service), `output` and
`parameters`.
"""
