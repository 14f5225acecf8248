--- A batch of a frozen preview, carried out once; what has moved on is left alone.
--- @flags allow-oom
--- @include family
--- @include rows
--- @inline selected
--- @const REMEMBERED_MS
--- @param given_now text  microseconds; empty: the server's own time
--- @param batch text  its name, by which a second apply finds the first one's results
--- @param wake text  the channel that tells drainers of work
--- @param verb text
--- @param argument text  the verb's: a rate, a level, a delay
--- @param message text  why, of a quarantine
--- @rows id, attempt, state  an item each

local now = now_us(given_now)
local before = call('GET', base .. 'act:' .. batch)
if before then return before end
local out, runnable, count = {}, false, 0
local interval, burst, tat, ready
if verb == 'replay' and argument ~= '' then
  interval, burst = 1000000 / tonumber(argument), math.max(1, math.floor(tonumber(argument)))
  local pace = call('HMGET', base .. 'meta', 'replay', 'replayed')
  -- Reckoned at a time that is yet to come, by a clock that was ahead: so much less is still to come.
  tat = math.max(now, tonumber(pace[1] or 0) - math.max(0, tonumber(pace[2] or 0) - now))
end
local apply = {}
function apply.replay(id, record, level, attempt, kind)
  take(id, level, record, kind)
  rewrite(id, record, level, attempt + 1)
  local start = now
  if interval then
    start = tat - (burst - 1) * interval
    tat = tat + interval
  end
  if start <= now then
    ready = ready and ready + 1 or next_ready(now)
    call('ZADD', base .. 'w' .. level, int(ready), id)
  else
    call('ZADD', base .. 'd' .. level, int(start), id)
  end
  runnable = true
end
function apply.discard(id, record, level, attempt, kind)
  take(id, level, record, kind)
  close(id, record, 'discarded', now)
end
function apply.reprioritize(id, record, level, attempt, kind, score)
  take(id, level, record, kind)
  put(id, argument, rewrite(id, record, argument, attempt), kind, score)
  runnable = runnable or kind == 'w' or kind == 'd'
end
function apply.delay(id, record, level, attempt, kind)
  take(id, level, record, kind)
  call('ZADD', base .. 'd' .. level, int(now + argument), id)
end
function apply.quarantine(id, record, level, attempt, kind)
  take(id, level, record, kind)
  call('ZADD', base .. 'quarantined', int(now), id)
  call('HDEL', base .. 'deaths', id)
  add_failure(id, attempt, 'failed', message, now)
end
for i = ROWS, #ARGV, ROW do
  local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
  local record, level, kind, score = still(id, attempt, ARGV[i + 2], now, batch)
  -- A removed family's backlog has no runs to be replayed: it is restored as one.
  if record and verb == 'replay' and kind ~= 'dead' and kind ~= 'quarantined' then record, level = nil, 'x' end
  if record then
    apply[verb](id, record, level, attempt, kind, score)
    if moves then call('HDEL', base .. 'moving', id) end
    count = count + 1
  end
  out[#out + 1] = record and 'd' or level
end
if ready then call('HSET', base .. 'meta', 'last', int(ready)) end
if interval then call('HSET', base .. 'meta', 'replay', int(tat), 'replayed', int(now)) end
local totals = {replay='replayed', discard='discarded', reprioritize='reprioritized', delay='delayed',
  quarantine='quarantined'}
if count > 0 then call('HINCRBY', base .. 'stats', totals[verb], count) end
local results = table.concat(out)
call('SET', base .. 'act:' .. batch, results, 'PX', REMEMBERED_MS)
if runnable or (count > 0 and verb == 'discard') then call('PUBLISH', wake, '') end
return results
