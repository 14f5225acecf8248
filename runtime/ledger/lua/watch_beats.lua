--- All signs of life, and since when the server has been there to take them.
--- @flags no-writes
--- @inline served
--- @key beats

return {string.format('%.6f', now), string.format('%.6f', served_since()), redis.call('HGETALL', beats)}
