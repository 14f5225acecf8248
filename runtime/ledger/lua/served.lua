--- Since when this very server has been there to take beats. Inlined.
--- @const SERVED
--- @const ALIVE_WITHIN_S

local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
-- The very server that is asked names itself. One that may not be asked stays unnamed.
local told = redis.pcall('INFO', 'server')
local run = type(told) == 'string' and string.match(told, 'run_id:(%x+)') or ''
-- Since when this very server has been there without a break: somebody's beat came all that time.
local function served_since()
  local last, since, was = string.match(redis.call('HGET', beats, SERVED) or '', '^(%S+) (%S+) (%x*)$')
  last, since = tonumber(last), tonumber(since)
  if not last or not since or was ~= run or math.abs(now - last) > ALIVE_WITHIN_S then return now end
  return since
end
