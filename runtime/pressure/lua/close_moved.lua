--- The second half of a move: what arrived is closed, what did not goes back.
--- @flags allow-oom
--- @include family
--- @include rows
--- @inline selected
--- @const REMEMBERED_MS
--- @param given_now text  microseconds; empty: the server's own time
--- @param batch text  the move's name
--- @param wake text  the channel that tells drainers of work
--- @param hand text  who moves
--- @rows id, attempt, arrived  an item each; arrived: 1, or the letter of why not

local now = now_us(given_now)
local before = call('GET', base .. 'act:' .. batch)
if before then return before end
local plan, out, moved = 'mv:' .. batch, {}, 0
if string.match(call('HGET', base .. plan, 'hand') or '', '^(%x+):') ~= hand then return 'busy' end
for i = ROWS, #ARGV, ROW do
  local id, attempt, arrived = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local code = call('HGET', base .. plan, id) or 'm'
  local kind, score = string.match(code, '^t:([a-z]+):(.*)$')
  if kind then
    local record = call('HGET', base .. 'items', id)
    local level, current
    if record then level, current = head(record) end
    if not record or current ~= attempt or not call('ZSCORE', base .. 'quarantined', id) then
      code = 'm' -- settled or taken up by a person meanwhile
    elseif arrived == '1' then
      call('ZREM', base .. 'quarantined', id)
      close(id, record, 'moved', now)
      code, moved = 'd', moved + 1
    else
      call('ZREM', base .. 'quarantined', id)
      local lines = string.match(call('HGET', base .. 'fails', id), '^(.*)\n[^\n]*$')
      if lines then call('HSET', base .. 'fails', id, lines) else call('HDEL', base .. 'fails', id) end
      -- Its key may have come free meanwhile, its family been restored: nobody would look for it there.
      if kind == 'q' then kind = 'w'
      elseif (kind == 'xw' or kind == 'xd') and not removed() then kind = string.sub(kind, 2) end
      put(id, level, record, kind, score)
      code = arrived -- why not
    end
  end
  call('HDEL', base .. 'moving', id)
  out[#out + 1] = code
end
if moved > 0 then call('HINCRBY', base .. 'stats', 'moved', moved) end
local results = table.concat(out)
call('SET', base .. 'act:' .. batch, results, 'PX', REMEMBERED_MS)
call('DEL', base .. plan)
call('PUBLISH', wake, '')
return results
