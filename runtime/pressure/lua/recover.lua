--- Lapsed leases, and those of owners that are gone, come back; what may have been sent is asked about.
--- @flags allow-oom
--- @include family
--- @include rows
--- @include leases
--- @const LAPSED_PER_CALL
--- @const DEATHS_MAX
--- @const PARKED_LOOKED_AT
--- @const AHEAD_US
--- @param given_now text  microseconds; empty: the server's own time
--- @param owner text  who asks Restate about the uncertain ones
--- @param lease_us number  how long that one has
--- @param wake text  the channel that tells drainers of work
--- @param concurrency number  items a key that run at once; 0: no limit
--- @param gone_owners number  how many owners follow that are gone
--- @rows owner  owners that are gone, then those that died

local now = now_us(given_now)
local lapse, gone, died = int(now + lease_us), {}, {}
local last_gone = ROWS - 1 + gone_owners
for i = ROWS, last_gone do gone[ARGV[i]] = true end
for i = last_gone + 1, #ARGV do died[ARGV[i]] = true end
local function holder(entry) return string.match(entry or '', '^%d+:%d+:(.*)$') end
local function deaths(id, entry)
  if died[holder(entry) or ''] then return call('HINCRBY', base .. 'deaths', id, 1) end
  return tonumber(call('HGET', base .. 'deaths', id) or 0)
end
-- Given by a server whose clock was ahead: no lease is longer than this one. Who lives renews it before.
for _, set in ipairs({'leased', 'admitting'}) do
  local ahead = int(now + lease_us + AHEAD_US)
  for _, id in ipairs(call('ZRANGEBYSCORE', base .. set, '(' .. ahead, '+inf', 'LIMIT', 0, LAPSED_PER_CALL)) do
    call('ZADD', base .. set, lapse, id)
  end
end
local lapsed = call('ZRANGEBYSCORE', base .. 'leased', '-inf', int(now), 'LIMIT', 0, LAPSED_PER_CALL)
local unsure = call('ZRANGEBYSCORE', base .. 'admitting', '-inf', int(now), 'LIMIT', 0, LAPSED_PER_CALL)
if gone_owners > 0 then
  local seen = {}
  for _, id in ipairs(lapsed) do seen[id] = true end
  for _, id in ipairs(unsure) do seen[id] = true end
  local held = call('HGETALL', base .. 'lease')
  for i = 1, #held, 2 do
    local id = held[i]
    if gone[holder(held[i + 1]) or ''] and not seen[id] then
      local group = call('ZSCORE', base .. 'leased', id) and lapsed or unsure
      if #group < LAPSED_PER_CALL then group[#group + 1] = id end
    end
  end
end
local returned, aside = 0, 0
for _, id in ipairs(lapsed) do
  local entry = call('HGET', base .. 'lease', id)
  if deaths(id, entry) >= DEATHS_MAX then
    set_aside(id, DEATHS_MAX .. ' drainers died with it in hand, the last was ' .. (holder(entry) or 'unknown'), now)
    aside = aside + 1
  else
    back(id, entry, now)
    returned = returned + 1
  end
end
local uncertain = {}
for _, id in ipairs(unsure) do
  local entry = call('HGET', base .. 'lease', id)
  local record = call('HGET', base .. 'items', id)
  if readable(record) then
    local token = call('HINCRBY', base .. 'meta', 'fence', 1)
    local ready = string.match(entry or '', '^%d+:(%d+):') or int(now)
    call('ZADD', base .. 'admitting', lapse, id)
    call('HSET', base .. 'lease', id, token .. ':' .. ready .. ':' .. owner)
    uncertain[#uncertain + 1] = {id, token, record, call('HGET', base .. 'fails', id), deaths(id, entry)}
  else -- Restate can't be asked about an unknown attempt; should it run, it still settles
    take_busy(id)
    keep_unreadable(id, nil, record, now)
    aside = aside + 1
  end
end
-- Set aside for a key that has room: its rule has changed, or is gone. Asked by the keys that are busy,
-- since those whose turn it is may lie behind any number of others.
local unparked, aside_now = 0, 0
for level = 0, 3 do aside_now = aside_now + call('ZCARD', base .. 'q' .. level) end
local keys = aside_now > 0 and concurrency > 0 and call('HGETALL', base .. 'busy') or {}
for i = 1, #keys, 2 do
  for _ = keys[i + 1] + 1, concurrency do
    if not unpark(keys[i]) then break end
    unparked = unparked + 1
  end
end
for level = 0, aside_now > 0 and 3 or -1 do
  for _, id in ipairs(call('ZRANGE', base .. 'q' .. level, 0, PARKED_LOOKED_AT - 1)) do
    local digest = key_of(call('HGET', base .. 'items', id))
    if concurrency == 0 or call('HEXISTS', base .. 'busy', digest) == 0 then
      local score = call('ZSCORE', base .. 'q' .. level, id)
      call('ZREM', base .. 'q' .. level, id)
      call('ZREM', base .. 'k' .. level .. ':' .. digest, id)
      call('ZADD', base .. 'w' .. level, score, id)
      unparked = unparked + 1
    end
  end
end
-- Runnable since a time that is yet to come: a clock that was ahead said so. They would wait behind all that
-- comes in from now on, never grow old, and nobody would call them stuck. They keep their order.
local function ahead_of(level, kind, beyond, most)
  return call('ZRANGEBYSCORE', base .. kind .. level, '(' .. int(beyond), '+inf', 'WITHSCORES', 'LIMIT', 0, most)
end
local ahead, all = {}, true
for level = 0, 3 do
  for _, kind in ipairs(aside_now > 0 and {'w', 'q'} or {'w'}) do
    if #ahead_of(level, kind, now + AHEAD_US, 1) > 0 then
      local found = ahead_of(level, kind, now, LAPSED_PER_CALL)
      for i = 1, #found, 2 do ahead[#ahead + 1] = {found[i], tonumber(found[i + 1]), kind, level} end
      all = all and #found < 2 * LAPSED_PER_CALL
    end
  end
end
table.sort(ahead, function(a, b)
  if a[2] == b[2] then return a[1] < b[1] end
  return a[2] < b[2]
end)
for n, row in ipairs(ahead) do
  local id, kind, level = row[1], row[3], row[4]
  call('ZADD', base .. kind .. level, int(now + n - 1), id)
  local digest = kind == 'q' and key_of(call('HGET', base .. 'items', id))
  if digest then call('ZADD', base .. 'k' .. level .. ':' .. digest, int(now + n - 1), id) end
end
if all and tonumber(call('HGET', base .. 'meta', 'last') or 0) > now + AHEAD_US then
  call('HSET', base .. 'meta', 'last', int(now + #ahead))
end
if returned + unparked > 0 then call('PUBLISH', wake, '') end
return {returned, uncertain, aside, unparked}
