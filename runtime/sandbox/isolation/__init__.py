"""How untrusted programs are held: private mounts, bubblewrap, system call filter, limits and their counters.

In: a command, its tree, its limits. Out: a running sandbox that can be watched and killed whole.
"""
