--- The lane's own hold: a family that nobody knew of when the lane was held has no pause of its own.
--- @flags allow-oom
--- @key hold
--- @param given_now text  microseconds; empty: the server's own time
--- @param fields text  the pause as JSON, without its times
--- @param length text  microseconds; empty: until it is lifted
--- @param over text  since when the hold is that this one may replace; any: whichever there is

local had = redis.call('GET', hold)
if over ~= 'any' and over ~= (had and cjson.decode(had).since or '') then return had or '' end
local t = redis.call('TIME')
local now = given_now ~= '' and tonumber(given_now) or t[1] * 1000000 + t[2]
local ends = length == '' and 'null' or string.format('"%.0f"', now + length)
local text = string.sub(fields, 1, -2) .. string.format(',"since":"%.0f","until":', now) .. ends .. '}'
redis.call('SET', hold, text)
if length ~= '' then redis.call('PEXPIRE', hold, math.max(1, math.floor(length / 1000 + 0.5))) end
return false
