--- Since when findings are; one process writes at a time.
--- @const KEPT_MOST
--- @key findings
--- @key watch
--- @param watcher text
--- @param watch_ms text
--- @param gone number  how many that are over come first
--- @rows name  those that are over, then name and since of each

if not redis.call('SET', watch, watcher, 'NX', 'PX', watch_ms) then
  -- A watch that lasts longer than any was begun when the server's clock was ahead.
  local left = redis.call('PTTL', watch)
  if redis.call('GET', watch) ~= watcher and left <= tonumber(watch_ms) then return 0 end
  redis.call('SET', watch, watcher, 'PX', watch_ms)
end
for i = ROWS, ROWS + gone - 1 do redis.call('HDEL', findings, ARGV[i]) end
for i = ROWS + gone, #ARGV, 2 do
  if redis.call('HLEN', findings) >= KEPT_MOST then break end
  local name, since = ARGV[i], ARGV[i + 1]
  local known = tonumber(redis.call('HGET', findings, name) or nil)
  -- What is seen now did not begin later: that was noted by a clock that was ahead.
  if not known or known > tonumber(since) then redis.call('HSET', findings, name, since) end
end
return 1
