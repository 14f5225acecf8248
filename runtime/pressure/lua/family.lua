--- A family's rows, as every script of the queue sees them. ``base``: the family's keys begin with it.
--- 
--- A row waits in ``w<level>`` (runnable), ``d<level>`` (delayed) or ``q<level>`` (its concurrency key is busy).
--- @const RATE_BUCKET_US
--- @const RATE_BUCKETS
--- @const ALONE_MOST_US
--- @const AHEAD_US

local base, call = KEYS[1], redis.call
local buckets, keys_held -- what a script remembers of its family
local clock -- the server's time stands still while a script runs
local function enter(key) base, buckets, keys_held = key, nil, nil end
local function now_us(given)
  if given ~= '' then return tonumber(given) end
  if not clock then
    local t = call('TIME')
    clock = t[1] * 1000000 + t[2]
  end
  return clock
end
local function int(n) return string.format('%.0f', n) end
local function head(record)
  local p, a, e = string.match(record or '', '^([0-3]):(%d+):(%d+):')
  return p, tonumber(a), e
end
local function pause_of(kind, now)
  local text = call('HGET', base .. 'pause', kind)
  if not text then return nil end
  local p = cjson.decode(text)
  if p['until'] ~= cjson.null and tonumber(p['until']) <= now then return nil end
  return text, p
end
-- In force now, the one that outranks the others first.
local function paused(now, mode)
  if call('EXISTS', base .. 'pause') == 0 then return nil end
  for _, kind in ipairs({'lane', 'person', 'machine'}) do
    local text, p = pause_of(kind, now)
    if text and (not mode or p.mode == mode) then return text, kind end
  end
end
-- The one that is told: what holds a family back is told before what lets it run dry.
local function foremost(now)
  local text, kind = paused(now, 'hold')
  if text then return text, kind end
  return paused(now)
end
local function removed() return call('HGET', base .. 'meta', 'removed') end
-- Where a removed family's backlog is kept: as it waited, out of everybody's reach.
local REMOVED = {'xw', 'xd'}
local function rate(kind, now)
  if not buckets then -- all of them in one command: a look reads three kinds
    buckets = {}
    local all = call('HGETALL', base .. 'rates')
    for i = 1, #all, 2 do buckets[all[i]] = all[i + 1] end
  end
  local newest = math.floor(now / RATE_BUCKET_US)
  local sum = 0
  for i = 0, RATE_BUCKETS - 1 do
    local b, n = string.match(buckets[kind .. i] or '', '^(%d+):(%d+)$')
    b = tonumber(b or -1)
    if b > newest - RATE_BUCKETS and b <= newest then sum = sum + n end
  end
  return sum
end
-- How many may start now of a rate: GCRA with its theoretical arrival time in meta.tat. And whether that is
-- later than this rate ever makes it: the rate was slower when it was written, or the clock went back.
local function rate_room(now, interval, burst)
  if interval == 0 then return math.huge, false end
  local tat = math.max(now, tonumber(call('HGET', base .. 'meta', 'tat') or 0))
  local room = math.floor((burst * interval - (tat - now)) / interval + 1e-6)
  return math.max(0, room), tat > now + burst * interval
end
-- Until when its target asked to be left alone; nothing: it may be called.
local function left_alone(now)
  local ends = tonumber(call('GET', base .. 'alone') or 0)
  if ends > now + ALONE_MOST_US + AHEAD_US then ends = 0 end -- longer than any may ask: a clock was ahead
  return ends > now and ends or nil, ends
end
local function key_of(record)
  local meta = string.match(record or '', '^%d:%d+:%d+:(.-)\n')
  if not meta or string.sub(meta, 1, 1) ~= '{' or not string.find(meta, '"k":', 1, true) then return nil end
  -- As JSON has it, undecoded: a text that is no valid Unicode would end the script here, each time anew.
  local key = string.match(meta, '[{,]"k":(".*")}$')
  return key and redis.sha1hex(key)
end
