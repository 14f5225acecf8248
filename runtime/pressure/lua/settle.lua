--- What became of runs: each settled once, never undone by a late word; the breaker trips in here.
--- @flags allow-oom
--- @include family
--- @include rows
--- @const AHEAD_US
--- @param given_now text  microseconds; empty: the server's own time
--- @param wake text  the channel that tells drainers of room
--- @param failures number  so many in the window trip the breaker; 0: none
--- @param window number  microseconds
--- @param pause text  the breaker's pause as JSON, without its times
--- @rows id, attempt, outcome, message  a run each

local now = now_us(given_now)
local out, well, badly, cut, ids, seen = {}, 0, 0, 0, {}, {}
local closed, bytes, scored, ends = {}, 0, {}, {}
for i = ROWS, #ARGV, ROW do ids[#ids + 1] = ARGV[i] end
local records = call('HMGET', base .. 'items', unpack(ids))
local flying, landed = call('ZMSCORE', base .. 'flight', unpack(ids)), {}
local function settle(id, record, flies, attempt, outcome, message)
  if seen[id] then return 'already' end
  if not record then
    local done = call('HGET', base .. 'done', id)
    if not done then return 'unknown' end
    local _, last = head(done)
    if last == attempt and string.match(done, ':([a-z]+)$') == 'succeeded' then return 'already' end
    return 'stale'
  end
  local level, current = head(record)
  if attempt < current then return 'stale' end
  if attempt > current then return 'unknown' end
  if flies then
    landed[#landed + 1] = id
    free(id)
  elseif take_busy(id) == 0 then
    if call('ZSCORE', base .. 'dead', id) then return 'already' end
    if not take_waiting(id, level, record) then call('ZREM', base .. 'quarantined', id) end
  end
  seen[id] = true
  if outcome == 'succeeded' then
    local priority, _, enqueued = head(record)
    closed[#closed + 1], bytes, well = id, bytes + string.len(record), well + 1
    scored[#scored + 1], scored[#scored + 2] = int(now), id
    ends[#ends + 1], ends[#ends + 2] = id, priority .. ':' .. attempt .. ':' .. enqueued .. ':' .. outcome
  else
    call('ZADD', base .. 'dead', int(now), id)
    call('HDEL', base .. 'deaths', id)
    add_failure(id, attempt, outcome, message, now)
    badly = badly + 1
    if outcome ~= 'failed' then cut = cut + 1 end -- ended by somebody: the work itself did not fail
    if outcome == 'failed' and failures > 0 then
      call('LPUSH', base .. 'recent', cjson.encode({at=int(now), id=id, message=message}))
      call('LTRIM', base .. 'recent', 0, failures - 1)
    end
  end
  return 'settled'
end
for n, id in ipairs(ids) do
  local at = ROWS + (n - 1) * ROW
  out[n] = settle(id, records[n], flying[n], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3])
end
many('ZREM', base .. 'flight', landed)
if well > 0 then
  many('HDEL', base .. 'items', closed)
  many('HDEL', base .. 'fails', closed)
  many('HDEL', base .. 'deaths', closed)
  call('HINCRBY', base .. 'meta', 'bytes', -bytes)
  many('ZADD', base .. 'settled', scored)
  many('HSET', base .. 'done', ends)
  call('HINCRBY', base .. 'stats', 'succeeded', well)
  bump('s', now, well)
end
if badly > 0 then
  call('HINCRBY', base .. 'stats', 'failed', badly)
  if badly > cut then bump('f', now, badly - cut) end
  if cut > 0 then bump('c', now, cut) end
end
if badly > 0 and failures > 0 and call('LLEN', base .. 'recent') >= failures and not pause_of('machine', now) then
  local recent = call('LRANGE', base .. 'recent', 0, -1)
  local first, last = cjson.decode(recent[#recent]), cjson.decode(recent[1])
  -- One from beyond now was noted by a clock that was ahead: when it failed is not known.
  if tonumber(first.at) >= now - window and tonumber(first.at) <= now + AHEAD_US then
    local counts, error, most = {}, '', 0
    for _, text in ipairs(recent) do
      local message = cjson.decode(text).message
      counts[message] = (counts[message] or 0) + 1
      if counts[message] > most then error, most = message, counts[message] end
    end
    local fields = string.sub(pause, 1, -2) .. ',"diagnosis":' .. cjson.encode({error=error, count=most,
      failures=#recent, since=first.at, first_item=first.id, last_item=last.id}) .. '}'
    set_pause('machine', fields, now, 'null')
    call('DEL', base .. 'recent')
  end
end
if well + badly > 0 then call('PUBLISH', wake, '') end -- room is free now, perhaps for another family of a full lane
return out
