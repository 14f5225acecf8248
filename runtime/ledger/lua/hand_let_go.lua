--- A run's try is over in these hands.
--- @flags allow-oom
--- @key in_hand
--- @key deaths_of
--- @key apart_since
--- @key turn_of
--- @key beats
--- @param run text
--- @param me text  the worker
--- @param ended text  well, badly, or empty: another try may come

local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6

if string.match(redis.call('HGET', in_hand, run) or '', '^(%S+)') == me then redis.call('HDEL', in_hand, run) end
if redis.call('GET', turn_of) == run then redis.call('DEL', turn_of) end
if ended == 'well' then
  redis.call('HDEL', deaths_of, run)
elseif ended == 'badly' then
  local family, owners = string.match(redis.call('HGET', deaths_of, run) or '', '^(%S+) %S+ %S+ (.*)$')
  if family then redis.call('HSET', deaths_of, run, family .. string.format(' %.6f over ', now) .. owners) end
end
return 1
