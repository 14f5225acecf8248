--- Recorded before the send to Restate; behind a pause the rows wait again.
--- @flags allow-oom
--- @include family
--- @include rows
--- @include leases
--- @param given_now text  microseconds; empty: the server's own time
--- @param lease_us number  how long from now
--- @rows id, token  a lease each

local now = now_us(given_now)
local held, lapse = paused(now, 'hold'), int(now + lease_us)
local ids, out, begun, scored = {}, {}, {}, {}
for i = ROWS, #ARGV, ROW do ids[#ids + 1] = ARGV[i] end
local entries = call('HMGET', base .. 'lease', unpack(ids))
for n, id in ipairs(ids) do
  local ours = entries[n] and string.match(entries[n], '^(%d+):') == ARGV[ROWS + (n - 1) * ROW + 1]
  if ours and held then back(id, entries[n], now) end
  out[n] = ours and not held and 1 or 0
  if out[n] == 1 then
    begun[#begun + 1] = id
    scored[#scored + 1], scored[#scored + 2] = lapse, id
  end
end
many('ZREM', base .. 'leased', begun)
many('ZADD', base .. 'admitting', scored)
return out
