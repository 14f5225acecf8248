--- These were not accepted: they wait again, at their old place.
--- @flags allow-oom
--- @include family
--- @include rows
--- @include leases
--- @param given_now text  microseconds; empty: the server's own time
--- @param unused number  the scripts on leases have their arguments in one order
--- @rows id, token  a lease each

local out = {}
for i = ROWS, #ARGV, ROW do
  local id, token = ARGV[i], ARGV[i + 1]
  local entry = mine(id, token)
  if entry then back(id, entry, now_us(given_now)) end
  out[#out + 1] = entry and 1 or 0
end
return out
