--- A preview's receipt: the first one stays.
--- @flags allow-oom
--- @key head
--- @param receipt text

if redis.call('EXISTS', head) == 0 then return 'gone' end
redis.call('HSETNX', head, 'receipt', receipt)
return redis.call('HGET', head, 'receipt')
