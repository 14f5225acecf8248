--- Those of the given ids that may match.
--- @flags no-writes
--- @include family
--- @inline filter
--- @const FOREVER_US
--- @param levels text  the priorities that are wanted, a digit each
--- @param enq_from number  microseconds
--- @param enq_until number
--- @param att_min number
--- @param att_max number
--- @param record_flag text  1: with the records
--- @param fails_flag text  1: with the last failures
--- @param wanted number  how many texts follow
--- @rows part  texts; how many members; key and value of each; set, low, high, ids

local set, low, high = unpack(ARGV, own)
local function bound(text)
  if text == '-inf' then return -math.huge end
  return text == '+inf' and math.huge or tonumber(text)
end
low, high = bound(low), bound(high)
local scores = {}
for i = own + 3, #ARGV do
  local score = call('ZSCORE', base .. set, ARGV[i])
  local record = score and tonumber(score) >= low and tonumber(score) <= high
    and call('HGET', base .. 'items', ARGV[i])
  if record then
    local before = n
    consider(ARGV[i], record)
    if n > before then scores[#scores + 1] = score end
  end
end
return {found(), scores}
