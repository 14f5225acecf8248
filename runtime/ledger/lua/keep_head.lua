--- A preview's head, written last: one without it can't be applied.
--- @flags allow-oom
--- @key head
--- @key index
--- @param ends text  ms since the epoch
--- @param shown text  JSON
--- @param made_at text
--- @param preview text

redis.call('HSET', head, 'shown', shown, 'ends', ends)
redis.call('PEXPIREAT', head, ends)
redis.call('ZADD', index, made_at, preview)
redis.call('PEXPIREAT', index, ends)
return redis.call('ZCARD', index)
