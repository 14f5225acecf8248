--- A worker is no more: what it had in hand is free, and where it died, its death is counted.
--- @flags allow-oom
--- @key in_hand
--- @key deaths_of
--- @key apart_since
--- @key turn_of
--- @key beats
--- @param gone text  the worker
--- @param how text  1: it died
--- @param keep_s number  deaths are forgotten after this
--- @param skew number  seconds

local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6

local died = how == '1'
local mine, runs, turn = {}, redis.call('HGETALL', in_hand), redis.call('GET', turn_of)
local alone = false
for i = 1, #runs, 2 do
  local holder, family = string.match(runs[i + 1], '^(%S+) (.*)$')
  if holder == gone then
    mine[runs[i]] = family
    alone = alone or runs[i] == turn
    redis.call('HDEL', in_hand, runs[i])
  end
end
if alone then redis.call('DEL', turn_of) end
if not died then return 0 end
local counted = 0
for run, family in pairs(mine) do
  redis.call('HSET', apart_since, family, string.format('%.6f', now))
  if not alone or run == turn then
    local owners = string.match(redis.call('HGET', deaths_of, run) or '', '^%S+ %S+ %S+ (.*)$')
    owners = owners and owners .. ' ' .. gone or gone
    redis.call('HSET', deaths_of, run, family .. string.format(' %.6f live ', now) .. owners)
    counted = counted + 1
  end
end
local all = redis.call('HGETALL', deaths_of)
for i = 1, #all, 2 do
  local at = tonumber(string.match(all[i + 1], '^%S+ (%S+)') or 0) or 0
  if now - at > keep_s then
    redis.call('HDEL', deaths_of, all[i])
  elseif at > now + skew then -- noted by a clock that was ahead: it grows old from now on
    local rest = string.match(all[i + 1], '^%S+ %S+ (.*)$')
    redis.call('HSET', deaths_of, all[i], string.match(all[i + 1], '^%S+') .. string.format(' %.6f ', now) .. rest)
  end
end
return counted
