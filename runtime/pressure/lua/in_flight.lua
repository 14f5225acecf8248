--- A page of what is in flight, the longest first.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time
--- @param younger_us number  those in flight for less are left out
--- @param after text  score of the page before's last
--- @param limit number
--- @param last text  id of the page before's last

local now = now_us(given_now)
local ties = call('ZCOUNT', base .. 'flight', after, after)
local rows = call('ZRANGEBYSCORE', base .. 'flight', after, int(now - younger_us), 'WITHSCORES',
  'LIMIT', 0, limit + ties)
local out = {}
for i = 1, #rows, 2 do
  local id, score = rows[i], rows[i + 1]
  if #out < limit and (score ~= after or id > last) then
    local _, attempt = head(call('HGET', base .. 'items', id))
    out[#out + 1] = {id, attempt, score}
  end
end
return out
