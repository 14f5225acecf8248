--- How the lane's rate stands.
--- @flags no-writes
--- @inline lane_rate
--- @key tat_key
--- @key out_key
--- @param interval number  microseconds between two starts
--- @param burst number  how many may start at once

local out = at(out_key)
return {room(math.max(now, at(tat_key))), out > 0 and out <= now and string.format('%.0f', now - out) or false}
