--- Lifts pauses: a person every one of the family's own, a machine a machine's.
--- @flags allow-oom
--- @include family
--- @include rows
--- @param given_now text  microseconds; empty: the server's own time
--- @param kind text  person, machine or lane
--- @param actor text
--- @param wake text  the channel that tells drainers of work
--- @param epoch text  as it was read with the pause that is meant; empty: any

local now = now_us(given_now)
if epoch ~= '' and epoch ~= (call('HGET', base .. 'pause', 'epoch') or '0') then
  return 'paused-anew'
end
local had, was = 0, false
for _, each in ipairs(kind == 'person' and {'person', 'machine'} or {kind}) do
  was = pause_of(each, now) and true or was -- one that has run out is no more in force
  had = had + call('HDEL', base .. 'pause', each)
end
if kind ~= 'lane' then call('DEL', base .. 'recent') end -- a breaker counts anew
if had == 0 then return 'not-paused' end
pauses_changed(now)
call('LPUSH', base .. 'pauses', cjson.encode({resumed=int(now), by=actor, kind=kind}))
call('LTRIM', base .. 'pauses', 0, PAUSES_KEPT - 1)
call('PUBLISH', wake, '')
return was and 'resumed' or 'not-paused'
