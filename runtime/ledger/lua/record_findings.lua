--- Since when findings are; one process writes at a time.
--- @const KEPT_MOST
--- @key findings
--- @key watch
--- @param watcher text
--- @param watch_ms text
--- @param gone number  how many that are over come first
--- @rows name  those that are over, then name and since of each

if not redis.call('SET', watch, watcher, 'NX', 'PX', watch_ms) then
  if redis.call('GET', watch) ~= watcher then return 0 end
  redis.call('PEXPIRE', watch, watch_ms)
end
for i = ROWS, ROWS + gone - 1 do redis.call('HDEL', findings, ARGV[i]) end
for i = ROWS + gone, #ARGV, 2 do
  if redis.call('HLEN', findings) >= KEPT_MOST then break end
  redis.call('HSETNX', findings, ARGV[i], ARGV[i + 1])
end
return 1
