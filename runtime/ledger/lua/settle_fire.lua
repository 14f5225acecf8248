--- How a fire's work ended, or that it goes on after all.
--- @key rows
--- @key open
--- @param id text
--- @param outcome text  empty: it goes on
--- @param ended_at text  seconds
--- @param final text  1: nobody can replay it

local row = redis.call('HGET', rows, id)
if not row or final == '1' then redis.call('ZREM', open, id) end
if not row then return 0 end
local read, fire = pcall(cjson.decode, row)
if not read or type(fire) ~= 'table' or type(fire.decided_at) ~= 'number' then return 0 end -- it is told where it is read
local known = fire['outcome'] ~= cjson.null and fire['outcome'] or ''
if known == outcome then return 0 end
fire['outcome'] = outcome ~= '' and outcome or cjson.null
fire['ended_at'] = outcome ~= '' and tonumber(ended_at) or cjson.null
redis.call('HSET', rows, id, cjson.encode(fire))
return 1
