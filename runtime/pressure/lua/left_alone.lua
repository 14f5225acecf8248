--- For how many microseconds its target is still to be left alone.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time

local now = now_us(given_now)
return int((left_alone(now) or now) - now)
