--- One sign of life, stamped by the server.
--- @flags allow-oom
--- @inline served
--- @key beats
--- @param process text
--- @param document text  JSON
--- @param forget text  drops beats older than so many seconds; empty: none

local since = served_since()
-- The old one first, so that a field is never there twice as large on a server that is out of memory.
redis.call('HDEL', beats, process)
redis.call('HSET', beats, process, string.format('%.6f', now) .. ' {"redis_run_id":"' .. run .. '",' .. string.sub(document, 2))
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
