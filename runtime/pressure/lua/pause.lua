--- Sets one kind of pause, and tells how many are still being admitted.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param kind text  person, machine or lane
--- @param fields text  the pause as JSON, without its times
--- @param length text  microseconds; empty: until it is lifted
--- @param epoch text  as it was read with the pause that this one may replace; empty: any

local now = now_us(given_now)
if epoch ~= '' and epoch ~= (call('HGET', base .. 'pause', 'epoch') or '0') then
  return {false, 0, foremost(now) or false}
end
local ends = length == '' and 'null' or '"' .. int(now + length) .. '"'
return {set_pause(kind, fields, now, ends), call('ZCARD', base .. 'admitting')}
