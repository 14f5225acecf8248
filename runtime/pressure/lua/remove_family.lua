--- A family that is no longer declared: its backlog is set aside as one; called again until nothing waits.
--- @flags allow-oom
--- @include family
--- @include rows
--- @const PARKED_PER_REMOVAL
--- @param given_now text  microseconds; empty: the server's own time

local waits = 0
for level = 0, 3 do
  for _, id in ipairs(call('ZRANGE', base .. 'q' .. level, 0, PARKED_PER_REMOVAL - 1)) do
    local _, score = take_waiting(id, level, call('HGET', base .. 'items', id))
    call('ZADD', base .. 'w' .. level, score, id)
  end
  waits = waits + pour(base .. 'w' .. level, base .. 'xw' .. level) + pour(base .. 'd' .. level, base .. 'xd' .. level)
end
if waits > 0 then call('HSETNX', base .. 'meta', 'removed', int(now_us(given_now))) end
return waits
