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
-- By the server's time where its maker's clock is ahead: it is not to outlast those that come after.
local t = redis.call('TIME')
redis.call('ZADD', index, math.min(tonumber(made_at), t[1] + t[2] / 1e6), preview)
redis.call('PEXPIREAT', index, ends)
return redis.call('ZCARD', index)
