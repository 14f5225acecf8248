--- The first half of a move: rows are set aside here until the other family has them.
--- @flags allow-oom
--- @include family
--- @include rows
--- @inline selected
--- @const REMEMBERED_MS
--- @const HAND_US
--- @const MOVE_GRACE_US
--- @param given_now text  microseconds; empty: the server's own time
--- @param batch text  the move's name
--- @param message text  what the row says meanwhile
--- @param hand text  who moves
--- @rows id, attempt, state  an item each

local now = now_us(given_now)
local before = call('GET', base .. 'act:' .. batch)
if before then return {before, {}} end
local plan, rows = 'mv:' .. batch, {}
local begun = call('EXISTS', base .. plan) == 1
-- One hand at a time: what one is told of the other family must be what it closes by here.
local other, until_us = string.match(begun and call('HGET', base .. plan, 'hand') or '', '^(%x+):(%d+)$')
if other and other ~= hand and tonumber(until_us) > now then return {'busy', {}} end
call('HSET', base .. plan, 'hand', hand .. ':' .. int(now + HAND_US))
for i = ROWS, #ARGV, ROW do
  local id, attempt = ARGV[i], tonumber(ARGV[i + 1])
  local code = begun and call('HGET', base .. plan, id)
  if not code then
    local record, level, kind, score = still(id, attempt, ARGV[i + 2], now, batch)
    if record then
      take(id, level, record, kind)
      call('ZADD', base .. 'quarantined', int(now), id)
      call('HSET', base .. 'moving', id, int(now + MOVE_GRACE_US) .. ':' .. batch)
      local lines = call('HGET', base .. 'fails', id) -- none of them is lost if it has to go back
      local line = cjson.encode({attempt=attempt, outcome='failed', message=message, at=int(now)})
      call('HSET', base .. 'fails', id, lines and lines .. '\n' .. line or line)
      code = 't:' .. kind .. ':' .. score
    else
      code = level
    end
    call('HSET', base .. plan, id, code)
  elseif string.sub(code, 1, 2) == 't:' then
    call('HSET', base .. 'moving', id, int(now + MOVE_GRACE_US) .. ':' .. batch)
  end
  rows[#rows + 1] = {code, call('HGET', base .. 'items', id)}
end
call('PEXPIRE', base .. plan, REMEMBERED_MS)
return {false, rows, int(now)}
