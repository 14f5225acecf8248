--- One drainer at a time looks and claims. Not the plain command, which a server that is out of memory refuses:
--- it has to be drained.
--- @flags allow-oom
--- @key turn
--- @param owner text
--- @param length text  milliseconds

if redis.call('SET', turn, owner, 'NX', 'PX', length) then return 1 end
-- No turn is longer: its end was set by a clock that was ahead, and is a day away perhaps.
if redis.call('PTTL', turn) <= tonumber(length) then return 0 end
redis.call('SET', turn, owner, 'PX', length)
return 1
