--- The lane's own rate, GCRA on two keys. Inlined: it reads the arguments.

local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function at(key) return tonumber(redis.call('GET', key) or 0) end
local function room(tat) return math.max(0, math.floor((burst * interval - (tat - now)) / interval + 1e-6)) end
