--- Runs that Restate has, whose rows wait: the rows are in flight again.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @rows id, attempt  a run each

local now, out = now_us(given_now), {}
for i = ROWS, #ARGV, ROW do
  local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
  local record = call('HGET', base .. 'items', id)
  local done = not record and call('HGET', base .. 'done', id)
  if done then
    out[#out + 1] = 'settled'
  elseif not record then
    out[#out + 1] = 'unknown'
  else
    local level, current = head(record)
    if current ~= attempt then
      out[#out + 1] = current > attempt and 'stale' or 'unknown'
    elseif take_waiting(id, level, record) then
      local digest = key_of(record)
      if digest then -- its key is busy again, as if it had been claimed
        call('HINCRBY', base .. 'busy', digest, 1)
        call('HSET', base .. 'holds', id, digest)
      end
      call('ZADD', base .. 'flight', int(now), id)
      out[#out + 1] = 'taken'
    elseif call('ZSCORE', base .. 'flight', id) or call('HEXISTS', base .. 'lease', id) == 1 then
      out[#out + 1] = 'known'
    else
      out[#out + 1] = 'over'
    end
  end
end
return out
