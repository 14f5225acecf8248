--- Notes that a run begins in a worker's hands, unless another has it or it has killed too many.
--- @key in_hand
--- @key deaths_of
--- @key apart_since
--- @key turn_of
--- @key beats
--- @param run text
--- @param family text
--- @param me text  the worker
--- @param most number  so many deaths settle it
--- @param apart_s number  how long a family's calls run apart
--- @param force text  the worker from which it is taken over; empty: none
--- @param skew number  seconds

local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6

if redis.call('HEXISTS', beats, 'worker/' .. me) == 0 then return {'unheard'} end
local holder = string.match(redis.call('HGET', in_hand, run) or '', '^(%S+)')
if holder and holder ~= me and holder ~= force then return {'held', holder} end
local deaths = 0
for _ in string.gmatch(string.match(redis.call('HGET', deaths_of, run) or '', '^%S+ %S+ %S+ (.*)$') or '', '%S+') do
  deaths = deaths + 1
end
if deaths >= most then return {'poison', deaths} end
if deaths >= most - 1 then
  local turn = redis.call('GET', turn_of)
  local other = turn and turn ~= run and redis.call('HGET', in_hand, turn)
  if other then return {'turn', turn} end
  redis.call('SET', turn_of, run)
end
redis.call('HSET', in_hand, run, me .. ' ' .. family)
local apart = tonumber(redis.call('HGET', apart_since, family) or 0)
if apart > now + skew then -- noted by a clock that was ahead: it counts from now on
  apart = now
  redis.call('HSET', apart_since, family, string.format('%.6f', now))
end
return {'taken', deaths, now - apart < apart_s and 1 or 0}
