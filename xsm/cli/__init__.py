"""`xsm`, the command line: asks the local xsmd over its unix socket, shows, asks the user. Decides
nothing about VMs.
"""
