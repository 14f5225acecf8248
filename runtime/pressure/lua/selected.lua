--- Rows of a frozen preview: found where they are, taken out, put back, rewritten. Of one family: inlined.

local moves = call('EXISTS', base .. 'moving') == 1
-- Where a row is that nobody works on: the set, its kind and its score there; nothing for any other.
local function place(id, level)
  for _, name in ipairs({'dead', 'quarantined'}) do
    local score = call('ZSCORE', base .. name, id)
    if score then return name, score end
  end
  for _, kind in ipairs({'w', 'd', 'q', 'xw', 'xd'}) do
    local score = call('ZSCORE', base .. kind .. level, id)
    if score then return kind, score end
  end
end
local function fits(kind, state)
  if kind == 'dead' then return state == 'dead' end
  if kind == 'quarantined' or kind == 'xw' or kind == 'xd' then return state == 'quarantined' end
  return state == 'waiting' or state == 'delayed'
end
local function in_a_move(id, now, batch)
  if not moves then return false end
  local entry = call('HGET', base .. 'moving', id)
  if not entry then return false end
  local until_us, by = string.match(entry, '^(%d+):(.*)$')
  return by ~= batch and tonumber(until_us) > now
end
-- The row if it is still what was selected: its record, level, attempt, kind and score; else a result.
local function still(id, attempt, state, now, batch)
  local record = call('HGET', base .. 'items', id)
  if not record then return nil, call('HEXISTS', base .. 'done', id) == 1 and 'e' or 'n' end
  local level, current = head(record)
  if current ~= attempt then return nil, 'm' end
  if in_a_move(id, now, batch) then return nil, 'o' end
  local kind, score = place(id, level)
  if not kind or not fits(kind, state) then return nil, 'm' end
  return record, level, kind, score
end
local function take(id, level, record, kind)
  if kind == 'dead' or kind == 'quarantined' then call('ZREM', base .. kind, id)
  else take_waiting(id, level, record) end
end
local function put(id, level, record, kind, score)
  if kind == 'dead' or kind == 'quarantined' then call('ZADD', base .. kind, score, id)
  elseif kind == 'q' then park(id, level, score, key_of(record))
  else call('ZADD', base .. kind .. level, score, id) end
end
local function rewrite(id, record, level, attempt)
  local enqueued, rest = string.match(record, '^%d:%d+:(%d+):(.*)$')
  local new = level .. ':' .. int(attempt) .. ':' .. enqueued .. ':' .. rest
  call('HSET', base .. 'items', id, new)
  local more = string.len(new) - string.len(record)
  if more ~= 0 then call('HINCRBY', base .. 'meta', 'bytes', more) end
  return new
end
