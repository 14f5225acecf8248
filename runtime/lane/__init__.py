"""The lane file, the only place where work is declared: parsed, validated, hashed, reloaded.

In: a path. Out: a frozen `Lane` (`lane_file`), or an error with line and reason; the last good one goes on.
Beside it the grid of a schedule (`cron`): the instants at which it is due.
"""
