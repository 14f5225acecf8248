--- Rows in a drainer's hands: back in line, still its own, or set aside.
--- @include rows

local function back(id, entry, now)
  local record = call('HGET', base .. 'items', id)
  call('ZREM', base .. 'leased', id)
  call('ZREM', base .. 'admitting', id)
  call('HDEL', base .. 'lease', id)
  local level = head(record)
  if level then call('ZADD', base .. 'w' .. level, string.match(entry or '', '^%d+:(%d+):') or int(now), id)
  else keep_unreadable(id, nil, record, now) end
  free(id)
end
local function mine(id, token)
  local entry = call('HGET', base .. 'lease', id)
  if entry and string.match(entry, '^(%d+):') == token then return entry end
end
local function set_aside(id, message, now)
  local _, attempt = head(call('HGET', base .. 'items', id))
  take_busy(id)
  call('HDEL', base .. 'deaths', id)
  call('ZADD', base .. 'quarantined', int(now), id)
  add_failure(id, attempt, 'failed', message, now)
end
