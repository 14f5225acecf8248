--- Whether a person's pause is in force.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time

return pause_of('person', now_us(given_now)) and 1 or 0
