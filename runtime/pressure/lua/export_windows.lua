--- Until when the dedup keys of items still hold.
--- @flags no-writes
--- @include family
--- @param given_now text  microseconds; empty: the server's own time
--- @rows suffix, id  a dedup key each

local now, out = now_us(given_now), {}
for i = ROWS, #ARGV, ROW do
  local suffix, id = ARGV[i], ARGV[i + 1]
  local left = call('GET', base .. suffix) == id and call('PTTL', base .. suffix) or -1
  out[#out + 1] = left > 0 and int(math.floor(now / 1000) + left) or false
end
return out
