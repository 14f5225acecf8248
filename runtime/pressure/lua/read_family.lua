--- All figures of a family, at one instant.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time
--- @param interval number  microseconds between two starts; 0: no rate
--- @param burst number  how many may start at once

local now = now_us(given_now)
local function card(name) return call('ZCARD', base .. name) end
local function first(name) return call('ZRANGE', base .. name, 0, 0, 'WITHSCORES')[2] or false end
local levels, delayed, parked, oldest, aside_since = {}, 0, 0, nil, nil
for level = 0, 3 do
  local due = call('ZCOUNT', base .. 'd' .. level, '-inf', int(now))
  local aside = card('q' .. level)
  parked = parked + aside
  levels[level + 1] = card('w' .. level) + due + aside
  delayed = delayed + card('d' .. level) - due
  for _, score in ipairs({first('w' .. level), due > 0 and first('d' .. level)}) do
    score = tonumber(score or nil)
    if score and (not oldest or score < oldest) then oldest = score end
  end
  local score = aside > 0 and tonumber(first('q' .. level))
  if score and (not aside_since or score < aside_since) then aside_since = score end
end
-- When a pause was last set, lifted or run out: what it held is as old as it was before.
local pauses = call('HMGET', base .. 'pause', 'epoch', 'changed', 'lane', 'person', 'machine')
local changed = tonumber(pauses[2] or 0)
for each = 3, 5 do
  local ends = pauses[each] and tonumber(string.match(pauses[each], '"until":"(%d+)"}$') or 0) or 0
  if ends <= now and ends > changed then changed = ends end
end
local room = rate_room(now, interval, burst)
local told, kind = foremost(now)
local behind = kind == 'lane' and pause_of('machine', now) or false
local stats = call('HMGET', base .. 'stats', 'succeeded', 'failed', 'enqueued')
local meta = call('HMGET', base .. 'meta', 'bytes', 'removed', 'tat')
local kept = 0
if meta[2] then
  for level = 0, 3 do
    for _, kind in ipairs(REMOVED) do kept = kept + card(kind .. level) end
  end
end
return {int(now), levels[1], levels[2], levels[3], levels[4], delayed, card('leased'),
  card('admitting'), card('flight'), card('dead'), card('quarantined') + kept, oldest and int(oldest) or false,
  told or false, rate('e', now), rate('s', now), rate('f', now), stats[1], stats[2],
  pauses[1], parked, room == math.huge and -1 or room,
  call('HLEN', base .. 'items'), meta[1], meta[2], paused(now, 'hold') and 1 or 0, stats[3],
  aside_since and int(aside_since) or false, meta[3], behind, int(select(2, left_alone(now))), rate('c', now),
  int(changed)}
