--- The drainer's heartbeat: leases that are still its own lapse later.
--- @flags allow-oom
--- @include family
--- @include rows
--- @include leases
--- @param given_now text  microseconds; empty: the server's own time
--- @param lease_us number  how long from now
--- @rows id, token  a lease each

local lapse = int(now_us(given_now) + lease_us)
local out = {}
for i = ROWS, #ARGV, ROW do
  local id, token = ARGV[i], ARGV[i + 1]
  local entry = mine(id, token)
  if entry then
    local set = call('ZSCORE', base .. 'leased', id) and 'leased' or 'admitting'
    call('ZADD', base .. set, lapse, id)
  end
  out[#out + 1] = entry and 1 or 0
end
return out
