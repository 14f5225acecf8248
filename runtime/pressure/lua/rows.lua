--- How rows change places. Each function leaves the family whole, so that a script is their sequence.
--- @include family
--- @const FAILURES_KEPT
--- @const PAUSES_KEPT
--- @const POURED_PER_CALL
--- @const UNREADABLE

local function bump(kind, now, by)
  local bucket = math.floor(now / RATE_BUCKET_US)
  local field = kind .. (bucket % RATE_BUCKETS)
  local b, n = string.match(call('HGET', base .. 'rates', field) or '', '^(%d+):(%d+)$')
  if tonumber(b or -1) ~= bucket then n = 0 end
  call('HSET', base .. 'rates', field, int(bucket) .. ':' .. int(n + (by or 1)))
end
local function add_failure(id, attempt, outcome, message, now)
  local lines = call('HGET', base .. 'fails', id)
  local line = cjson.encode({attempt=attempt, outcome=outcome, message=message, at=int(now)})
  if lines then
    lines = lines .. '\n' .. line
    local _, breaks = string.gsub(lines, '\n', '')
    if breaks >= FAILURES_KEPT then lines = string.match(lines, '^[^\n]*\n(.*)$') end
  else
    lines = line
  end
  call('HSET', base .. 'fails', id, lines)
end
-- A row whose record is gone (evicted, deleted) or spoilt is set aside for a person to see, so that nobody
-- trips over it. The record says so itself, since a replay brings the row back to the line.
local function readable(record)
  return record and string.find(record, '^[0-3]:%d+:%d+:[^\n]*\n')
    and not string.find(record, '^%d:%d+:%d+:' .. UNREADABLE .. '\n')
end
local function keep_unreadable(id, level, record, now)
  local attempt = select(2, head(record))
  if not attempt then
    attempt = 1
    local left = (level or 3) .. ':1:' .. int(now) .. ':' .. UNREADABLE .. '\n' .. (record or '')
    call('HSET', base .. 'items', id, left)
    call('HINCRBY', base .. 'meta', 'bytes', #left - (record and #record or 0))
    call('HDEL', base .. 'fails', id)
  end
  call('HDEL', base .. 'deaths', id)
  add_failure(id, attempt, 'failed', record and 'its record could not be read, what was found is shown as its payload'
    or 'its record is gone from Redis, and its payload with it', now)
  call('ZADD', base .. 'quarantined', int(now), id)
end
-- The next score at the end of the line: first in first out also within one microsecond.
local function next_ready(now, many)
  local first = math.max(now, tonumber(call('HGET', base .. 'meta', 'last') or 0) + 1)
  call('HSET', base .. 'meta', 'last', int(first + (many or 1) - 1))
  return first
end
local function park(id, level, ready, digest)
  call('ZADD', base .. 'q' .. level, ready, id)
  call('ZADD', base .. 'k' .. level .. ':' .. digest, ready, id)
end
local function unpark(digest)
  for level = 0, 3 do
    local first = call('ZPOPMIN', base .. 'k' .. level .. ':' .. digest)
    if first[1] then
      call('ZREM', base .. 'q' .. level, first[1])
      call('ZADD', base .. 'w' .. level, first[2], first[1])
      return true
    end
  end
end
-- A row's key is free for the next: called whenever it leaves the hands of drainer and Restate.
local function free(id)
  if keys_held == nil then keys_held = call('EXISTS', base .. 'holds') == 1 end
  if not keys_held then return end
  local digest = call('HGET', base .. 'holds', id)
  if not digest then return end
  call('HDEL', base .. 'holds', id)
  if call('HINCRBY', base .. 'busy', digest, -1) <= 0 then call('HDEL', base .. 'busy', digest) end
  unpark(digest)
end
-- Out of wherever it waits: the name of the set and its score there, or nothing. Those set aside until a
-- row of their key has ended are not left behind when that row never begins.
local function take_waiting(id, level, record)
  for _, kind in ipairs(removed() and {'w', 'd', 'q', 'xw', 'xd'} or {'w', 'd', 'q'}) do
    local score = call('ZSCORE', base .. kind .. level, id)
    if score then
      call('ZREM', base .. kind .. level, id)
      local digest = kind ~= 'd' and key_of(record)
      if kind == 'q' then call('ZREM', base .. 'k' .. level .. ':' .. digest, id) end
      if kind == 'w' and digest then unpark(digest) end
      return kind, score
    end
  end
end
-- Out of the hands of drainer and Restate.
local function take_busy(id)
  local was = call('ZREM', base .. 'flight', id)
  if was == 0 then
    was = call('ZREM', base .. 'admitting', id) + call('ZREM', base .. 'leased', id)
    call('HDEL', base .. 'lease', id)
  end
  free(id)
  return was
end
-- The record itself and all that hangs on it.
local function forget(id, record)
  call('HDEL', base .. 'items', id)
  call('HDEL', base .. 'fails', id)
  call('HDEL', base .. 'deaths', id)
  call('HINCRBY', base .. 'meta', 'bytes', -string.len(record))
end
-- One command over many members: the arguments that one call takes are bounded.
local function many(command, key, members)
  for i = 1, #members, 1000 do call(command, key, unpack(members, i, math.min(i + 999, #members))) end
end
-- Closed without having succeeded: discarded, or moved.
local function close(id, record, outcome, now)
  local priority, attempt, enqueued = head(record)
  forget(id, record)
  call('ZADD', base .. 'discarded', int(now), id)
  call('HSET', base .. 'done', id, priority .. ':' .. attempt .. ':' .. enqueued .. ':' .. outcome)
end
-- One set into another: the larger one is kept and the smaller one's rows are carried over. Where both are
-- large only so many of the first are, which the caller goes on with: the server is not held up for long.
local function pour(from, into)
  local few, rest = call('ZCARD', from), call('ZCARD', into)
  if few == 0 then return 0 end
  if few > rest and rest <= POURED_PER_CALL then
    local rows = call('ZRANGE', into, 0, -1, 'WITHSCORES')
    call('RENAME', from, into)
    for i = 1, #rows, 2 do call('ZADD', into, rows[i + 1], rows[i]) end
    return few
  end
  local rows = call('ZRANGE', from, 0, POURED_PER_CALL - 1, 'WITHSCORES')
  for i = 1, #rows, 2 do call('ZADD', into, rows[i + 1], rows[i]) end
  call('ZREMRANGEBYRANK', from, 0, #rows / 2 - 1)
  return #rows / 2
end
-- Whoever acts on pauses names the epoch that they saw; and what was held until now is next, not late.
local function pauses_changed(now)
  call('HINCRBY', base .. 'pause', 'epoch', 1)
  call('HSET', base .. 'pause', 'changed', int(now))
end
local function set_pause(kind, fields, now, ends)
  local text = string.sub(fields, 1, -2) .. ',"since":"' .. int(now) .. '","until":' .. ends .. '}'
  call('HDEL', base .. 'pause', kind)
  call('HSET', base .. 'pause', kind, text)
  pauses_changed(now)
  call('LPUSH', base .. 'pauses', text)
  call('LTRIM', base .. 'pauses', 0, PAUSES_KEPT - 1)
  return text
end
