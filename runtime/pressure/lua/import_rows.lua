--- Rows of a backlog file, each put where it was; one that is known adds nothing.
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param wake text  the channel that tells drainers of work
--- @rows id, set, score, record, fails, deaths, suffix, until_ms  a row each; the last two: its dedup key

local now, out, bytes, added, last = now_us(given_now), {}, 0, 0, 0
if paused(now, 'drain') then return 'draining' end
for i = ROWS, #ARGV, ROW do
  local id, set, score, record, fails = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local deaths, suffix, until_ms = tonumber(ARGV[i + 5]), ARGV[i + 6], tonumber(ARGV[i + 7])
  if call('HEXISTS', base .. 'items', id) == 1 or call('HEXISTS', base .. 'done', id) == 1 then
    out[#out + 1] = 0
  else
    call('HSET', base .. 'items', id, record)
    -- A runnable row from the future would push all that come after it there too.
    if score == '' or (string.sub(set, 1, 1) == 'w' and tonumber(score) > now + 60000000) then score = int(now) end
    call('ZADD', base .. set, score, id)
    if fails ~= '' then call('HSET', base .. 'fails', id, fails) end
    if deaths > 0 then call('HSET', base .. 'deaths', id, deaths) end
    if suffix ~= '' and until_ms * 1000 > now then
      call('SET', base .. suffix, id, 'NX', 'PX', int(until_ms - math.floor(now / 1000)))
    end
    if string.sub(set, 1, 1) == 'w' then last = math.max(last, tonumber(score)) end
    bytes, added = bytes + string.len(record), added + 1
    out[#out + 1] = 1
  end
end
if added > 0 then
  call('HINCRBY', base .. 'meta', 'bytes', bytes)
  call('HINCRBY', base .. 'stats', 'adopted', added)
  if last > tonumber(call('HGET', base .. 'meta', 'last') or 0) then call('HSET', base .. 'meta', 'last', int(last)) end
  call('PUBLISH', wake, '')
end
return out
