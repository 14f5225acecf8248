--- The server's time, microseconds since the epoch.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time

return int(now_us(given_now))
