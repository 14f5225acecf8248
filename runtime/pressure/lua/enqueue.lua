--- Stores items in their order, each at most once, within the family's ceilings.
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param wake text  the channel that tells drainers of work
--- @param window text  the dedup window, milliseconds
--- @param max_items number  0: no ceiling
--- @param max_bytes number  0: no ceiling
--- @rows id, level, rest, delay_us, suffix  an item each; suffix: of its dedup key, or empty

local now = now_us(given_now)
if paused(now, 'drain') then return 'draining' end
local ids = {}
for i = ROWS, #ARGV, ROW do ids[#ids + 1] = ARGV[i] end
local known, done = call('HMGET', base .. 'items', unpack(ids)), call('HMGET', base .. 'done', unpack(ids))
local stored, bytes = call('HLEN', base .. 'items'), tonumber(call('HGET', base .. 'meta', 'bytes') or 0)
local before, again, out, rows, runnable, many, seen = bytes, 0, {}, {}, {}, 0, {}
local stamp = ':1:' .. int(now) .. ':'
for n, id in ipairs(ids) do
  local at = ROWS + (n - 1) * ROW
  local level, rest, suffix = ARGV[at + 1], ARGV[at + 2], ARGV[at + 4]
  local first = suffix ~= '' and call('GET', base .. suffix)
  local size = string.len(rest) + string.len(stamp) + 1
  if known[n] or done[n] or seen[id] then
    again, out[n] = again + 1, 0
  elseif first then
    again, out[n] = again + 1, first
  elseif max_items > 0 and stored >= max_items then
    out[n] = -1
  elseif max_bytes > 0 and bytes + size > max_bytes then
    out[n] = -2
  else
    if suffix ~= '' then call('SET', base .. suffix, id, 'PX', window) end
    rows[#rows + 1], rows[#rows + 2] = id, level .. stamp .. rest
    local delay = tonumber(ARGV[at + 3])
    if delay > 0 then
      call('ZADD', base .. 'd' .. level, int(now + delay), id)
    else
      runnable[level] = runnable[level] or {}
      table.insert(runnable[level], id)
      many = many + 1
    end
    seen[id], stored, bytes, out[n] = true, stored + 1, bytes + size, 0
  end
end
if again > 0 then call('HINCRBY', base .. 'stats', 'duplicates', again) end
if #rows == 0 then return out end
call('HSET', base .. 'items', unpack(rows))
call('HINCRBY', base .. 'meta', 'bytes', bytes - before)
if many > 0 then
  local ready = next_ready(now, many)
  for level, group in pairs(runnable) do
    local scored = {}
    for _, id in ipairs(group) do
      scored[#scored + 1], scored[#scored + 2] = int(ready), id
      ready = ready + 1
    end
    call('ZADD', base .. 'w' .. level, unpack(scored))
  end
end
call('HINCRBY', base .. 'stats', 'enqueued', #rows / 2)
bump('e', now, #rows / 2)
call('PUBLISH', wake, '')
return out
