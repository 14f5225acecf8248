--- All signs of life, and the time of the very server that stamps them: those of a cluster may disagree.
--- @flags no-writes
--- @key beats

return {redis.call('TIME'), redis.call('HGETALL', beats)}
