--- Restate has accepted these: they are in flight.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param unused number  the scripts on leases have their arguments in one order
--- @rows id, token  a lease each

local now = int(now_us(given_now))
local ids, out, gone, scored = {}, {}, {}, {}
for i = ROWS, #ARGV, ROW do ids[#ids + 1] = ARGV[i] end
local entries = call('HMGET', base .. 'lease', unpack(ids))
for n, id in ipairs(ids) do
  local ours = entries[n] and string.match(entries[n], '^(%d+):') == ARGV[ROWS + (n - 1) * ROW + 1]
  out[n] = ours and 1 or 0
  if ours then
    gone[#gone + 1] = id
    scored[#scored + 1], scored[#scored + 2] = now, id
  end
end
many('ZREM', base .. 'leased', gone)
many('ZREM', base .. 'admitting', gone)
many('HDEL', base .. 'lease', gone)
many('HDEL', base .. 'deaths', gone) -- it was no drainer's death after all
many('ZADD', base .. 'flight', scored)
return out
