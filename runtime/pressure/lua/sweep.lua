--- Forgets settled and discarded rows beyond their age or number.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param keep_us number  how long they are kept
--- @param keep_rows number  how many are kept

local now = now_us(given_now)
local dropped = 0
for _, set in ipairs({'settled', 'discarded'}) do
  local old = call('ZRANGEBYSCORE', base .. set, '-inf', int(now - keep_us), 'LIMIT', 0, 1000)
  local extra = call('ZCARD', base .. set) - #old - keep_rows
  if extra > 0 and #old == 0 then old = call('ZRANGE', base .. set, 0, math.min(extra, 1000) - 1) end
  many('ZREM', base .. set, old)
  many('HDEL', base .. 'done', old)
  dropped = dropped + #old
end
return dropped
