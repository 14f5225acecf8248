--- A leased item that can't be admitted, set aside for a person.
--- @flags allow-oom
--- @include family
--- @include rows
--- @include leases
--- @param given_now text  microseconds; empty: the server's own time
--- @param id text
--- @param token text
--- @param message text  why

if not mine(id, token) then return 0 end
set_aside(id, message, now_us(given_now))
return 1
