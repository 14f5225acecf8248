--- The deaths that one run caused are taken off the others that were there.
--- @flags allow-oom
--- @key in_hand
--- @key deaths_of
--- @key apart_since
--- @key turn_of
--- @key beats
--- @param run text

local explained = {}
for owner in string.gmatch(string.match(redis.call('HGET', deaths_of, run) or '', '^%S+ %S+ %S+ (.*)$') or '', '%S+') do
  explained[owner] = true
end
local all = redis.call('HGETALL', deaths_of)
for i = 1, #all, 2 do
  local head, owners = string.match(all[i + 1], '^(%S+ %S+ %S+) (.*)$')
  if all[i] ~= run and owners then
    local left = {}
    for owner in string.gmatch(owners, '%S+') do
      if not explained[owner] then left[#left + 1] = owner end
    end
    if #left == 0 then redis.call('HDEL', deaths_of, all[i])
    else redis.call('HSET', deaths_of, all[i], head .. ' ' .. table.concat(left, ' ')) end
  end
end
return 1
