--- What could be claimed of a family now; what is due is made runnable on the way.
--- @flags allow-oom
--- @include family
--- @include due
--- @const DUE_PER_CALL
--- @const DUE_AT_LEAST
--- @param given_now text  microseconds; empty: the server's own time
--- @param aging number  microseconds; 0: none
--- @param interval number  microseconds between two starts; 0: no rate
--- @param burst number  how many may start at once

local now = now_us(given_now)
local w = {base .. 'w0', base .. 'w1', base .. 'w2', base .. 'w3'}
local d = {base .. 'd0', base .. 'd1', base .. 'd2', base .. 'd3'}
-- In one question what few families have: most of what a look costs is its number of commands.
local more = call('EXISTS', d[1], d[2], d[3], d[4], base .. 'pause', base .. 'alone') > 0
if more then
  for n = 1, 4 do
    local want = math.min(DUE_PER_CALL, math.max(DUE_AT_LEAST, due_left))
    local due = call('ZRANGEBYSCORE', d[n], '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, want)
    local ids, scored = {}, {}
    for i = 1, #due, 2 do
      ids[#ids + 1] = due[i]
      scored[i], scored[i + 1] = due[i + 1], due[i]
    end
    if #ids > 0 then
      call('ZREM', d[n], unpack(ids))
      call('ZADD', w[n], unpack(scored))
      due_left = due_left - #ids
    end
  end
end
local busy = call('ZCARD', base .. 'leased') + call('ZCARD', base .. 'admitting') + call('ZCARD', base .. 'flight')
local served = {0, 0, 0, 0}
for level = 1, 4 do
  local rest, up = call('ZCARD', w[level]), 0
  while aging > 0 and rest > 0 and level - up > 2 do -- those that are old enough are served a level higher
    local lifted = call('ZCOUNT', w[level], '-inf', int(now - (up + 1) * aging))
    served[level - up] = served[level - up] + rest - lifted
    rest, up = lifted, up + 1
  end
  served[level - up] = served[level - up] + rest
end
local room, beyond = rate_room(now, interval, burst)
-- A rate that was raised is not kept back by what the slower one had still to come.
if beyond then call('HSET', base .. 'meta', 'tat', int(now + burst * interval)) end
return {served[1], served[2], served[3], served[4], busy, more and paused(now, 'hold') and 1 or 0,
  room == math.huge and -1 or room, now, more and left_alone(now) and 1 or 0}
