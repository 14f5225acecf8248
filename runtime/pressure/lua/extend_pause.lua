--- A new end for the pause that is told, if it is still the one that was meant.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param epoch text  as it was read with that pause
--- @param length text  microseconds from now; empty: until it is lifted
--- @param actor text

local now = now_us(given_now)
if epoch ~= (call('HGET', base .. 'pause', 'epoch') or '0') then return 'paused-anew' end
local text, kind = foremost(now)
if not text then return 'not-paused' end
local ends = length == '' and 'null' or '"' .. int(now + length) .. '"'
text = string.gsub(text, '"until":[^,]*}$', '"until":' .. ends .. '}')
call('HSET', base .. 'pause', kind, text)
pauses_changed(now)
call('LPUSH', base .. 'pauses', cjson.encode({extended=int(now), by=actor}))
call('LTRIM', base .. 'pauses', 0, PAUSES_KEPT - 1)
return 'extended'
