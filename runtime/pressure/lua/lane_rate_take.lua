--- Takes starts of the lane's rate, or gives them back.
--- @flags allow-oom
--- @inline lane_rate
--- @key tat_key
--- @key out_key
--- @param interval number  microseconds between two starts
--- @param burst number  how many may start at once
--- @param most number  below 0: given back

local tat = math.max(now, at(tat_key))
local taken = math.min(most, room(tat))
local function keep(key, till) redis.call('SET', key, string.format('%.0f', till), 'PX', math.ceil((till - now) / 1000) + 60000) end
if taken == 0 then
  -- Later than this rate ever makes it: it was slower when that was written, or the clock went back.
  if tat > now + burst * interval then
    keep(tat_key, now + burst * interval)
    keep(out_key, now + interval)
  end
  return 0
end
tat = tat + taken * interval
keep(tat_key, math.max(now, tat))
if room(tat) == 0 then keep(out_key, tat - (burst - 1) * interval) elseif taken < 0 then redis.call('DEL', out_key) end
return taken
