--- How many rows lie between two scores of each set.
--- @flags no-writes
--- @include family
--- @rows set, low, high  a set each

local out = {}
for i = ROWS, #ARGV, ROW do
  local set, low, high = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  out[#out + 1] = call('ZCOUNT', base .. set, low, high)
end
return out
