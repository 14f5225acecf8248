--- Leases up to so many items of a family, by the level at which they are served.
--- @flags allow-oom
--- @include family
--- @include rows
--- @const PARKED_PER_CLAIM
--- @param given_now text  microseconds; empty: the server's own time
--- @param owner text  who leases
--- @param lease_us number  how long
--- @param max_in_flight number
--- @param concurrency number  items a key that run at once; 0: no limit
--- @param aging number  microseconds; 0: none
--- @param interval number  microseconds between two starts; 0: no rate
--- @param burst number  how many may start at once
--- @param want_p0 number  how many at the level P0
--- @param want_p1 number
--- @param want_p2 number
--- @param want_p3 number
--- @param turn_ends number  from this instant on nothing is claimed, microseconds

local now = now_us(given_now)
if now >= turn_ends or paused(now, 'hold') or left_alone(now) then return {{}, 0} end
local lapse = int(now + lease_us)
local wants = {want_p0, want_p1, want_p2, want_p3}
local room = max_in_flight - call('ZCARD', base .. 'leased') - call('ZCARD', base .. 'admitting') - call('ZCARD', base .. 'flight')
room = math.min(room, (rate_room(now, interval, burst)))
local ids, readies, levels, parked = {}, {}, {}, 0
-- Up to ``want`` rows that are served at this level, the oldest first: (id, score, own level) in turn.
local function take(level, want)
  local rows = {}
  if aging == 0 or level == 0 or level == 3 then
    local popped = call('ZPOPMIN', base .. 'w' .. level, want)
    for i = 1, #popped, 2 do rows[#rows + 1] = {popped[i], popped[i + 1], level} end
    return rows
  end
  for own = level, 3 do
    local old = own == level and '+inf' or int(now - (own - level) * aging)
    local found = call('ZRANGEBYSCORE', base .. 'w' .. own, '-inf', old, 'WITHSCORES', 'LIMIT', 0, want)
    for i = 1, #found, 2 do rows[#rows + 1] = {found[i], found[i + 1], own} end
  end
  table.sort(rows, function(a, b)
    local x, y = tonumber(a[2]), tonumber(b[2])
    if x == y then return a[1] < b[1] end
    return x < y
  end)
  for i = #rows, want + 1, -1 do rows[i] = nil end
  for _, row in ipairs(rows) do call('ZREM', base .. 'w' .. row[3], row[1]) end
  return rows
end
for level = 0, 3 do
  local want = math.min(wants[level + 1], room)
  while want > 0 and parked < PARKED_PER_CLAIM do
    local rows = take(level, want)
    for _, row in ipairs(rows) do
      local id, ready = row[1], int(tonumber(row[2]))
      local digest = concurrency > 0 and key_of(call('HGET', base .. 'items', id))
      if digest and tonumber(call('HGET', base .. 'busy', digest) or 0) >= concurrency then
        park(id, row[3], ready, digest)
        parked = parked + 1
      else
        if digest then
          call('HINCRBY', base .. 'busy', digest, 1)
          call('HSET', base .. 'holds', id, digest)
        end
        ids[#ids + 1], readies[#readies + 1], levels[#levels + 1] = id, ready, row[3]
        want, room = want - 1, room - 1
      end
    end
    if #rows == 0 or concurrency == 0 then break end
  end
end
local records = #ids > 0 and call('HMGET', base .. 'items', unpack(ids)) or {}
local found, spoilt = ids, 0
ids = {}
for n, id in ipairs(found) do
  if readable(records[n]) then
    ids[#ids + 1] = id
    readies[#ids], records[#ids] = readies[n], records[n]
  else
    keep_unreadable(id, levels[n], records[n], now)
    free(id)
    spoilt = spoilt + 1
  end
end
if #ids == 0 then return {{}, parked + spoilt} end
local token = call('HINCRBY', base .. 'meta', 'fence', #ids) - #ids
local scored, entries = {}, {}
for n, id in ipairs(ids) do
  scored[#scored + 1], scored[#scored + 2] = lapse, id
  entries[#entries + 1], entries[#entries + 2] = id, int(token + n) .. ':' .. readies[n] .. ':' .. owner
end
call('ZADD', base .. 'leased', unpack(scored))
call('HSET', base .. 'lease', unpack(entries))
if interval > 0 then
  local tat = math.max(now, tonumber(call('HGET', base .. 'meta', 'tat') or 0))
  call('HSET', base .. 'meta', 'tat', int(tat + #ids * interval))
end
local fails = call('HMGET', base .. 'fails', unpack(ids))
local out = {}
for n, id in ipairs(ids) do out[n] = {id, token + n, records[n], fails[n]} end
return {out, parked + spoilt}
