--- A fire's row, once; what is too old or too much is dropped. What is ordered or kept by time is so by the server's
--- where a fire's own lies beyond it: a clock that was ahead once is not to push out what came before it, nor to
--- stay on top of what comes after.
--- @key rows
--- @key order
--- @key open
--- @key last
--- @key instants
--- @param id text
--- @param row text  JSON
--- @param at number  when it was decided, seconds
--- @param keep number  seconds
--- @param kept number  rows
--- @param schedule text
--- @param is_open text  1: its work goes on
--- @param instant text  empty: none
--- @param is_missed text  1
--- @param skew number  seconds
--- @param instants_kept number

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function said(text, field)
  local read, value = pcall(cjson.decode, text or '')
  return read and type(value) == 'table' and value[field] or nil
end
local function exact(number) return string.format('%.6f', number) end
local known = redis.call('HGET', rows, id)
if known and (is_missed == '1' or said(known, 'decision') ~= 'missed') then return 0 end
local score = exact(at > now + skew and now or at)
for _, set in ipairs({order, open}) do
  for _, ahead in ipairs(redis.call('ZRANGEBYSCORE', set, '(' .. exact(now + skew), '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', set, exact(math.min(at, now)), ahead)
  end
end
redis.call('HSET', rows, id, row)
redis.call('ZADD', order, score, id)
if is_open == '1' then redis.call('ZADD', open, score, id) end
if is_missed ~= '1' then
  local newest = redis.call('HGET', last, schedule)
  local newest_at = newest and tonumber(said(redis.call('HGET', rows, newest), 'decided_at')) or 0
  if newest_at <= at or newest_at > now + skew then redis.call('HSET', last, schedule, id) end
  if instant ~= '' then
    redis.call('ZADD', instants, instant, instant)
    local past = redis.call('ZCOUNT', instants, '-inf', exact(now))
    if past > instants_kept then redis.call('ZREMRANGEBYRANK', instants, 0, past - instants_kept - 1) end
    local beyond = redis.call('ZCOUNT', instants, '(' .. exact(now), '+inf')
    if beyond > instants_kept then redis.call('ZREMRANGEBYRANK', instants, instants_kept - beyond, -1) end
  end
end
local old = redis.call('ZRANGEBYSCORE', order, '-inf', '(' .. exact(math.min(at, now) - keep), 'LIMIT', 0, 1000)
local over = redis.call('ZCARD', order) - kept
if over > #old then old = redis.call('ZRANGE', order, 0, over - 1) end
for _, gone in ipairs(old) do
  if gone ~= id then
    redis.call('ZREM', order, gone)
    redis.call('ZREM', open, gone)
    redis.call('HDEL', rows, gone)
  end
end
return 1
