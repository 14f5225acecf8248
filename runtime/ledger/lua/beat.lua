--- One sign of life, stamped by the server.
--- @flags allow-oom
--- @inline served
--- @key beats
--- @param process text
--- @param document text  JSON
--- @param forget text  drops beats older than so many seconds; empty: none

local since = served_since()
-- Its own silence, or the server's, begins its life without a break anew.
local last, alive_since = string.match(
  redis.call('HGET', beats, process) or '', '^(%S+) {"redis_run_id":"%x*","alive_since":([%d.]+),')
if last == nil or math.abs(now - tonumber(last)) > ALIVE_WITHIN_S then
  alive_since = string.format('%.6f', now)
end
-- The old one first, so that a field is never there twice as large on a server that is out of memory.
redis.call('HDEL', beats, process)
redis.call('HSET', beats, process, string.format('%.6f {"redis_run_id":"%s","alive_since":%s,%s',
  now, run, alive_since, string.sub(document, 2)))
redis.call('HSET', beats, SERVED, string.format('%.6f %.6f %s', now, since, run))
if forget ~= '' then
  for _, field in ipairs(redis.call('HKEYS', beats)) do
    local at = tonumber(string.match(redis.call('HGET', beats, field), '^(%S+) ') or '0') or 0
    if now - at > tonumber(forget) then redis.call('HDEL', beats, field) end
    if at - now > ALIVE_WITHIN_S and field ~= SERVED then
      -- Stamped when the clock was ahead, and silent since: its silence is counted from now on.
      local rest = string.match(redis.call('HGET', beats, field), '^%S+( .*)$')
      redis.call('HSET', beats, field, string.format('%.6f', now) .. rest)
    end
  end
end
return string.format('%.6f', now)
