--- Lifts the lane's own hold, if it is still the one that was meant.
--- @flags allow-oom
--- @key hold
--- @param meant text  since when that one is; any: whichever there is

local had = redis.call('GET', hold)
if had and meant ~= 'any' and meant ~= cjson.decode(had).since then return 0 end
redis.call('DEL', hold)
return 1
