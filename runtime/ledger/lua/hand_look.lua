--- What workers have in hand, and whose deaths are counted.
--- @flags no-writes
--- @key in_hand
--- @key deaths_of
--- @key apart_since
--- @key turn_of
--- @key beats

return {redis.call('HVALS', in_hand), redis.call('HGETALL', deaths_of)}
