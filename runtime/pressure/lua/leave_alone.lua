--- Its target asked not to be called for a while: nothing of the family is claimed until then.
--- @flags allow-oom
--- @include family
--- @const ALONE_TOLD_MS
--- @param given_now text  microseconds; empty: the server's own time
--- @param wait_us number  how long from now

local now = now_us(given_now)
local ends = now + wait_us
if ends <= now or ends <= select(2, left_alone(now)) then return 0 end
call('SET', base .. 'alone', int(ends), 'PX', int((ends - now) / 1000 + ALONE_TOLD_MS))
return 1
