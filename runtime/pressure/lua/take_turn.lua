--- One drainer at a time looks and claims. Not the plain command, which a server that is out of memory refuses:
--- it has to be drained.
--- @flags allow-oom
--- @key turn
--- @param owner text
--- @param length text  milliseconds

return redis.call('SET', turn, owner, 'NX', 'PX', length) and 1 or 0
