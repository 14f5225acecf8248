--- Where one item is, with all that is kept of it.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time
--- @param id text

local now = now_us(given_now)
local done = call('HGET', base .. 'done', id)
if done then return {'settled', call('ZSCORE', base .. 'settled', id) or call('ZSCORE', base .. 'discarded', id), done, false, false} end
local record = call('HGET', base .. 'items', id)
if not record then return false end
local names = {'flight', 'admitting', 'leased', 'dead', 'quarantined'}
local own = head(record)
for level = own or 0, own or 3 do -- a record that can't be read may wait at any
  for _, kind in ipairs({'d', 'w', 'q', 'xw', 'xd'}) do names[#names + 1] = kind .. int(level) end
end
for _, name in ipairs(names) do
  local score = call('ZSCORE', base .. name, id)
  if score then
    local aside, place = string.sub(name, 1, 1) == 'x', name
    if aside then place = 'quarantined' end
    if string.match(name, '^[wdq]%d$') then
      place = string.sub(name, 1, 1) == 'd' and tonumber(score) > now and 'delayed' or 'waiting'
    end
    return {place, score, record, call('HGET', base .. 'fails', id), call('HGET', base .. 'lease', id),
      call('HGET', base .. 'deaths', id), aside and removed()}
  end
end
return false
