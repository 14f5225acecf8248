--- Ends a turn that is still its owner's, and tells whether the whole lane is held.
--- @flags allow-oom
--- @key turn
--- @key hold
--- @param owner text

if redis.call('GET', turn) == owner then redis.call('DEL', turn) end
return redis.call('EXISTS', hold)
